//! By what a machine is known (rule S11).

use std::fmt;

/// The machine id, and the product uuid of its (virtual) hardware. A machine may have either, both or neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineIdentity {
    /// 32 hexadecimal digits, as in `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// As firmware tells it, in lower case.
    pub product_uuid: Option<String>,
}

impl MachineIdentity {
    /// As [`fmt::Display`] writes it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let known = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        let (machine_id, product_uuid) = text.split_once('/').unwrap_or((text, ""));
        Self { machine_id: known(machine_id), product_uuid: known(product_uuid) }
    }

    /// Whether nothing is known of this machine.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// Whether nothing that both know tells them apart.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let agree = |ours: &Option<String>, theirs: &Option<String>| {
            ours.as_ref().zip(theirs.as_ref()).is_none_or(|(ours, theirs)| ours == theirs)
        };
        agree(&self.machine_id, &other.machine_id) && agree(&self.product_uuid, &other.product_uuid)
    }

    /// This, with what only the other knows.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            machine_id: self.machine_id.or(other.machine_id),
            product_uuid: self.product_uuid.or(other.product_uuid),
        }
    }
}

/// `machine-id/product-uuid`, without the slash where there is no uuid.
impl fmt::Display for MachineIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.machine_id.as_deref().unwrap_or_default())?;
        match &self.product_uuid {
            Some(uuid) => write!(f, "/{uuid}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(machine_id: &str, product_uuid: &str) -> MachineIdentity {
        MachineIdentity::parse(&format!("{machine_id}/{product_uuid}"))
    }

    #[test]
    fn s11_either_part_alone_tells_two_machines_apart() {
        assert!(of("a", "1").may_be(&of("a", "1")));
        assert!(!of("a", "1").may_be(&of("a", "2")), "a copied disk keeps its machine id");
        assert!(!of("a", "1").may_be(&of("b", "1")));
    }

    #[test]
    fn s11_what_is_not_known_tells_nothing() {
        assert!(of("a", "").may_be(&of("a", "1")) && of("a", "1").may_be(&of("a", "")));
        assert!(!of("a", "").may_be(&of("b", "1")));
        assert!(of("", "").may_be(&of("b", "1")) && of("", "").is_unknown());
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in ["", "a", "a/1", "/1"] {
            assert_eq!(MachineIdentity::parse(text).to_string(), text);
        }
        assert_eq!(of("a", "").or(of("b", "2")), of("a", "2"));
    }
}
