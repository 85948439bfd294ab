//! One test function, run wherever there is a server.

/// Tests of the functions of that name of the module, each taking a [`Place`](shm_tests::triton::Place): on
/// both servers in both protocols.
macro_rules! everywhere {
    ($($test:ident),* $(,)?) => {
        everywhere!(@on embedded_http Embedded Http $($test)*);
        everywhere!(@on embedded_grpc Embedded Grpc $($test)*);
        everywhere!(@on real_http Real Http $($test)*);
        everywhere!(@on real_grpc Real Grpc $($test)*);
    };
    (@on $module:ident $kind:ident $wire:ident $($test:ident)*) => {
        mod $module {
            use shm_tests::triton::{Kind, Place, Wire};
            $(
                #[test]
                fn $test() {
                    Place::run(Kind::$kind, Wire::$wire, super::$test);
                }
            )*
        }
    };
}
