what='ways are shown to those who are heard, and to nobody else'
check=calm_routes
runs='line-7 0..2'
replace crates/kodikon-core/src/node/views.rs 's/let present: Vec<NodeId> = self\.ctx\.roster\.present\(\)\.map\(\|\(id, _\)\| \*id\)\.collect\(\);/let present: Vec<NodeId> = self.ctx.roster.present().map(|(id, _)| *id).filter(|id| self.ctx.roster.get(id).is_some_and(Peer::is_near)).collect();/'
