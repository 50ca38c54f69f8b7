//! The XDP steering program and its typed loader.
