//! Declares an enum of rules together with its table of counters, so that no rule can be forgotten in the counting.
//!
//! Used by the two parsers: for PGM and for the network headers.

#![forbid(unsafe_code)]

/// `enum`, its `ALL`, `name` and `index`, and the counters beside it.
macro_rules! rules {
    (
        $(#[doc = $enum_doc:literal])+ enum $rule:ident;
        $(#[doc = $counters_doc:literal])+ struct $counters:ident;
        $($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $message:literal;)+
    ) => {
        $(#[doc = $enum_doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        #[repr(u8)]
        pub enum $rule {
            $($(#[doc = $doc])+ #[error($message)] $variant,)+
        }

        impl $rule {
            /// All rules, in the order of their indices.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// A short stable name, fit for a counter.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The position in [`Self::ALL`].
            #[inline]
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        $(#[doc = $counters_doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $counters([u64; $rule::ALL.len()]);

        impl Default for $counters {
            fn default() -> Self {
                Self([0; $rule::ALL.len()])
            }
        }

        impl $counters {
            /// Counts one packet.
            #[inline]
            pub fn count(&mut self, rule: $rule) {
                self.0[rule.index()] += 1;
            }

            /// Packets refused for this reason.
            pub fn get(&self, rule: $rule) -> u64 {
                self.0[rule.index()]
            }

            /// Packets refused for any reason.
            pub fn total(&self) -> u64 {
                self.0.iter().sum()
            }

            /// All reasons with their counts.
            pub fn iter(&self) -> impl Iterator<Item = ($rule, u64)> + '_ {
                $rule::ALL.into_iter().zip(self.0)
            }
        }
    };
}

pub(super) use rules;
