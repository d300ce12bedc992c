what='a delete takes nothing back that is shown here'
check=calm_gone
runs='records-10 0..4
records-races 0..4'
replace crates/kodikon-core/src/machines/registry.rs 's/if let Some\(current\) = self\.current\(&sighting\)\.filter\(\|current\| \*current <= newest\)/if let Some(current) = self.current(\&sighting).filter(|current| *current > newest)/'
