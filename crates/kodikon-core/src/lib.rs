//! The core of the mesh.
