//! What whole runs promise: one seed tells one story, and the scenarios keep their word.
