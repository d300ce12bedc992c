what='signatures are not checked'
check=state_true
runs='hostile-member 0..6'
replace crates/kodikon-core/src/effect/context.rs 's/op\.verify\(public_key, self\.mesh, self\.verifier\.as_mut\(\)\)/{ let _ = op.verify(public_key, self.mesh, self.verifier.as_mut()); true }/'
