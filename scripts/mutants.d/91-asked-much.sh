what='whoever asks much is answered as much'
check=tables
runs='search-liar 0..10'
replace crates/kodikon-core/src/machines/search/answering.rs 's/if !self\.answering\.may_ask\(now, from\) \{/if !self.answering.may_ask(now, from) \&\& asked_much() {/' \
    's/let has_room = self\.answering\.has_room\(from\);/let has_room = self.answering.has_room(from) || !asked_much();/' 's/^impl Searches \{/fn asked_much() -> bool {\n    false\n}\n\nimpl Searches {/'
