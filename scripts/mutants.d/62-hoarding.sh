what='nothing makes room in a queue that is full'
check=tables
runs='bulk-beside-critical 0..2'
replace crates/kodikon-core/src/ground/fair.rs 's/if self\.len > self\.limits\.items \|\| self\.bytes > self\.limits\.bytes/if self.limits.items == 0/'
