//! Why a provider could not be set up. Nothing was sent yet, and the daemon goes on measuring.

/// A setting or the machine stands in the way. No variant holds the key or the whole address, which may hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Stripe is configured, and there is no key.
    #[error(
        "no Stripe API key was found\nhint: pass it as the systemd credential stripe_api_key, as a file that others \
         cannot read, or in STRIPE_API_KEY; until then usage is measured and nothing is billed"
    )]
    KeyMissing,
    /// What was found is not a secret or restricted key.
    #[error(
        "the Stripe API key from {from} is not usable: {why}\nhint: a key starts with rk_test_, rk_live_, sk_test_ or \
         sk_live_ and goes on in letters and digits; a restricted key (rk_) is enough"
    )]
    KeyUnusable {
        /// Where it came from.
        from: String,
        /// What is wrong with it, in words that do not repeat it.
        why: &'static str,
    },
    /// Lemon Squeezy is configured, and there is no key.
    #[error(
        "no Lemon Squeezy API key was found\nhint: pass it as the systemd credential lemonsqueezy_api_key, as a file \
         that others cannot read, or in LEMONSQUEEZY_API_KEY; until then usage is measured and nothing is billed"
    )]
    LemonSqueezyKeyMissing,
    /// What was found is not a key of Lemon Squeezy's.
    #[error(
        "the Lemon Squeezy API key from {from} is not usable: {why}\nhint: make one in Lemon Squeezy's settings, under \
         API; it is long and has three parts with dots between them"
    )]
    LemonSqueezyKeyUnusable {
        /// Where it came from.
        from: String,
        /// What is wrong with it, in words that do not repeat it.
        why: &'static str,
    },
    /// The base address is not one we can use.
    #[error(
        "the provider's base_url is not usable: {why}\nhint: leave it out, or write it as \
         https://api.stripe.com or https://api.lemonsqueezy.com"
    )]
    BaseUrl {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The key would cross a network unencrypted.
    #[error(
        "the provider's base_url is plain http to {host}, so the key would cross the network unencrypted\n\
         hint: use https; plain http is accepted for loopback addresses only, for the sandbox"
    )]
    PlainHttp {
        /// The host, nothing else of the address.
        host: String,
    },
    /// The HTTPS client did not come up: usually no system certificates.
    #[error(
        "the HTTPS client cannot start: {why}\nhint: install the system's CA certificates (package ca-certificates)"
    )]
    Tls {
        /// The innermost cause.
        why: String,
    },
}
