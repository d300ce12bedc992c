what='whoever gives by a stream takes no notice of what the other has'
check=pulled_once
runs='records-pull 0..4
records-pull-breaks 0..4'
replace crates/kodikon-core/src/machines/replication/log/bulk.rs 's/let question = sync::flat\(self, more, true, Some\(&peer\), &mut ctx\.random\)\.one\(&mut ctx\.random\);/let mut question = sync::flat(self, more, true, Some(\&peer), \&mut ctx.random).one(\&mut ctx.random); question.digests.iter_mut().for_each(|digest| digest.covers.iter_mut().for_each(|cover| cover.intervals.clear()));/'
