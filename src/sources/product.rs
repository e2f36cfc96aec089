//! The product uuid that firmware gives a machine (rule S11). A container sees its host's, which says nothing of it.

use std::path::Path;

use uuid::Uuid;

use super::{Machine, container};

/// In the runtime directory: left by the unit's root step, since the kernel shows it to root alone.
const HANDED_IN: &str = "product-uuid";
const SHOWN: &str = "sys/class/dmi/id/product_uuid";
/// What boards carry whose maker wrote none in.
const NOBODYS: [Uuid; 3] = [Uuid::nil(), Uuid::max(), Uuid::from_u128(0x0300_0200_0400_0500_0006_0007_0008_0009)];

/// As the kernel shows it, else as it was handed in; `None` where there is none that tells machines apart.
pub(super) fn uuid(machine: &Machine, runtime_dir: &Path) -> Option<String> {
    if container::is_one(machine) {
        return None;
    }
    let text = machine.try_read(SHOWN).or_else(|_| std::fs::read_to_string(runtime_dir.join(HANDED_IN))).ok()?;
    let uuid = Uuid::try_parse(text.trim()).ok()?;
    (!NOBODYS.contains(&uuid)).then(|| uuid.hyphenated().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::{machine, put};
    use super::*;

    const UUID: &str = "4C4C4544-0042-3510-8051-C4C04F4A4E32\n";
    const READ: Option<&str> = Some("4c4c4544-0042-3510-8051-c4c04f4a4e32");

    #[test]
    fn s11_the_product_uuid_is_what_root_handed_in_or_can_see() {
        let ((_dir, machine), runtime) = (machine(&[]), tempfile::tempdir().unwrap());
        assert_eq!(uuid(&machine, runtime.path()), None);
        std::fs::write(runtime.path().join(HANDED_IN), UUID).unwrap();
        assert_eq!(uuid(&machine, runtime.path()).as_deref(), READ);
        put(&machine, SHOWN, "00000000-0000-0000-0000-0000000000a1");
        assert_eq!(uuid(&machine, runtime.path()).as_deref(), Some("00000000-0000-0000-0000-0000000000a1"));
    }

    #[test]
    fn s11_a_uuid_that_many_machines_share_is_none() {
        let (runtime, ours) = (tempfile::tempdir().unwrap(), machine(&[]));
        for shared in [
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "Not Settable",
            "",
        ] {
            std::fs::write(runtime.path().join(HANDED_IN), shared).unwrap();
            assert_eq!(uuid(&ours.1, runtime.path()), None, "{shared:?}");
        }
    }

    #[test]
    fn s11_a_container_has_no_product_uuid_of_its_own() {
        let ((_dir, container), runtime) =
            (machine(&[("run/systemd/container", "lxc"), (SHOWN, UUID)]), tempfile::tempdir().unwrap());
        std::fs::write(runtime.path().join(HANDED_IN), UUID).unwrap();
        assert_eq!(uuid(&container, runtime.path()), None);
    }
}
