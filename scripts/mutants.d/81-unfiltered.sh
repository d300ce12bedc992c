what='the nearest are chosen first, and the filter is asked afterwards'
check=search_exact
runs='search-6 0..4'
replace crates/kodikon-core/src/effect/scan.rs 's/if question\.is_open\(\) \{ search \} else \{ search\.among\(allow\) \}/if question.k > 0 { search } else { search.among(allow) }/' \
    's/let entry = entries\.get\(hit\.id\)\?;/let entry = entries.get(hit.id).filter(|_| allows(\&self.questions[*at], hit.id))?;/'
