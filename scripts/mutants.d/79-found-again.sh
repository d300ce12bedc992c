what='what was deleted or is over is still among what is scanned'
check=search_exact
runs='search-6 0..4'
replace crates/kodikon-core/src/machines/search.rs 's/let Some\(place\) = self\.held\.remove\(id\) else \{ return \};/let Some(place) = self.held.remove(id).filter(|_| false) else { return };/'
