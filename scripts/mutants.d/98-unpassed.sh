what='relays neither pass alerts on nor tell them again, and leave them to be pulled'
check=alert_reliable
runs='alerts-line-7 0..4'
replace crates/kodikon-core/src/node/alerts.rs 's/id\.author != self\.ctx\.me\.id && self\.routing\.is_between\(\)/id.author == self.ctx.me.id \&\& self.routing.is_between()/' \
    's/map\.children_of\(author\)\.unwrap/map.children_of(author).filter(|_| *author == self.ctx.me.id).unwrap/'
