what='a name that another bears is kept'
check=calm_names
runs='name-clash 0..4'
replace crates/kodikon-core/src/machines/membership/names.rs 's/peer\.card\.name == ctx\.config\.node_name \&\& peer\.card\.rank == ctx\.me\.rank/peer.card.name == ctx.config.node_name \&\& peer.card.rank == 0/'
