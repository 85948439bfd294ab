//! The numbers of the kinds of frames. They are part of the protocol.

macro_rules! kinds {
    ($($list:ident: $($code:literal $constant:ident $name:literal,)*;)*) => {
        $($(
            #[doc = concat!("`", $name, "`.")]
            pub const $constant: u16 = $code;
        )*)*

        $(
            #[doc = "Names by number, in order."]
            pub const $list: &[(u16, &str)] = &[$(($code, $name),)*];
        )*

        /// The name of a kind, as the specification has it.
        pub fn name(kind: u16) -> Option<&'static str> {
            match kind {
                $($($code => Some($name),)*)*
                _ => None,
            }
        }
    };
}

kinds! {
    REQUESTS:
        1 HELLO "Hello",
        2 PING "Ping",
        3 SERVER_INFO "ServerInfo",
        4 ENDPOINTS "Endpoints",
        5 CALL "Call",
        6 SUBMIT "Submit",
        7 TASK "Task",
        8 TASK_RESULT "TaskResult",
        9 WAIT_TASK "WaitTask",
        10 CANCEL_TASK "CancelTask",
        11 TASKS "Tasks",
        12 RELEASE "Release",
        13 ACQUIRE "Acquire",
        14 OBJECT "Object",
        15 INVALIDATE_CALL "InvalidateCall",
        16 INVALIDATE_ENDPOINT "InvalidateEndpoint",
        17 CANCEL "Cancel",
    ;
    REPLIES:
        0x8001 WELCOME "Welcome",
        0x8002 PONG "Pong",
        0x8003 INFO "Info",
        0x8004 ANSWER "Answer",
        0x8005 SUBMITTED "Submitted",
        0x8006 TASK_STATE "Task",
        0x8007 TASK_LIST "Tasks",
        0x8008 CANCELLED "Cancelled",
        0x8009 RELEASED "Released",
        0x800A OBJECT_STATE "Object",
        0x800B INVALIDATED "Invalidated",
        0x800C FAILED "Failed",
        0x800D STOPPING "Stopping",
    ;
}

/// True for numbers that have a meaning.
pub fn is_known(kind: u16) -> bool {
    name(kind).is_some()
}

/// True for frames that carry a value, and so may carry descriptors.
pub fn carries_value(kind: u16) -> bool {
    matches!(kind, CALL | SUBMIT | INVALIDATE_CALL | ANSWER)
}
