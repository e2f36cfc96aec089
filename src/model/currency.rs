/// How many decimal places a currency has, named as in ISO 4217 in lower case; most have two.
/// <https://docs.stripe.com/currencies#zero-decimal>, <https://docs.stripe.com/currencies#three-decimal>
#[must_use]
pub fn decimal_places(currency: &str) -> u32 {
    const WHOLE: [&str; 16] = [
        "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf",
    ];
    const THOUSANDTHS: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];
    if WHOLE.contains(&currency) {
        0
    } else if THOUSANDTHS.contains(&currency) {
        3
    } else {
        2
    }
}
