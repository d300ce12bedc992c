what='the more urgent of two classes always goes first'
check=class_served
runs='congested-link 0..3'
replace crates/kodikon-core/src/ground/fair.rs 's/while !self\.waits\(self\.turn\.0\) \|\| self\.turn\.1 == 0 \{/self.turn = (others.into_iter().find(|class| self.waits(*class)).unwrap_or(Class::Low), usize::MAX);\n        while self.turn.1 == 0 {/'
