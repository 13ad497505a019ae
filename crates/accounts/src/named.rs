//! Enums whose variants have names: the same ones in the database, in requests and in answers.

/// Gives an enum `name` and `Display`, and `FromStr` when it is said which error a name is that none of them has:
/// `named!(Kind { One = "one", Other = "other" } name => AccountsError::...)`.
macro_rules! named {
    ($type:ident { $($variant:ident = $name:literal),* $(,)? }) => {
        impl $type {
            /// What it is called.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
    ($type:ident { $($variant:ident = $name:literal),* $(,)? } $given:ident => $error:expr) => {
        $crate::named::named!($type { $($variant = $name),* });

        impl std::str::FromStr for $type {
            type Err = $crate::AccountsError;

            fn from_str($given: &str) -> Result<Self, Self::Err> {
                match $given {
                    $($name => Ok(Self::$variant),)*
                    _ => Err($error),
                }
            }
        }
    };
}
pub(crate) use named;
