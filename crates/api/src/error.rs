//! What an error looks like on the wire.

wire! {
    /// Body of every answer with status 400 and above.
    pub struct ErrorBody {
        /// One sentence.
        pub message: String = "message",
    }
}
