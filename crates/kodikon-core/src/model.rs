//! The facts a mesh is made of: who its members are, what they sign, and the table a node keeps of them.

pub mod alert;
pub mod cast;
pub mod identity;
pub mod json;
pub mod letter;
pub mod links;
pub mod logged;
pub mod member;
pub mod op;
pub mod record;
pub mod roster;
pub mod state;
pub mod windows;
