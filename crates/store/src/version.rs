//! Versions as etcd stores them: "major.minor.0".

use std::fmt;

/// A cluster or storage version. Displays as "3.7.0".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

impl Version {
    /// What a cluster starts from before its members agree on more.
    pub const V3_0: Self = Self::new(3, 0);
    /// The last version without a storage version key.
    pub const V3_5: Self = Self::new(3, 5);
    /// The first version with a storage version key.
    pub const V3_6: Self = Self::new(3, 6);
    /// This program.
    pub const V3_7: Self = Self::new(3, 7);

    /// A version from its numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Reads "3.7", "3.7.0" or "3.7.0-alpha.0"; the patch level is dropped, as etcd does.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let release = text.split(['-', '+']).next()?;
        let mut numbers = release.split('.').map(|n| n.parse::<u32>().ok());
        let version = Self::new(numbers.next()??, numbers.next()??);
        match (numbers.next(), numbers.next()) {
            (None | Some(Some(_)), None) => Some(version),
            _ => None,
        }
    }

    /// "3.7": how the Downgrade reply shows it.
    #[must_use]
    pub fn short(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.0", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_and_without_patch_and_shown_with_patch_zero() {
        for text in ["3.7", "3.7.0", "3.7.12", "3.7.0-alpha.0"] {
            assert_eq!(Version::parse(text).map(|v| v.to_string()).as_deref(), Some("3.7.0"), "{text}");
        }
        for text in ["", "3", "3.x", "3.7.0.1", "3.7.x"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
