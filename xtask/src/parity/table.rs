//! The tests of pyshmem that are not meant to pass, each with the reason.
//!
//! The run fails when a test fails that is not named here, and when one that is named passes: the
//! table is what the package promises not to do, and it is kept true.

/// Tests that are no ordinary ones, for one reason.
pub struct Difference {
    pub reason: &'static str,
    /// How the failure reads, at least one of these: a test that fails in another way fails for
    /// another reason.
    pub reads: &'static [&'static str],
    /// Names without parameters: all cases of a test differ.
    pub tests: &'static [&'static str],
}

/// What a test runs into that reaches for a private name of the module or of a handle.
const PRIVATE: &[&str] = &["private: pyshmem._shared.", "has no attribute '_"];

/// Tests of 1.4.0 that fail here.
pub const DIFFERENT: &[Difference] = &[
    Difference {
        reason: "private: looks up the distribution `pyshmem`; ours is `shm-py`",
        reads: &["PackageNotFoundError"],
        tests: &["test_cpu_api.py::test_public_version_matches_installed_distribution"],
    },
    Difference {
        reason: "private: pokes at pyshmem's metadata block; ours has another layout",
        reads: PRIVATE,
        tests: &[
            "test_cpu_api.py::test_metadata_round_trips_user_visible_name",
            "test_cpu_api.py::test_new_stream_uses_fixed_width_v3_metadata",
            "test_cpu_api.py::test_open_accepts_legacy_v2_metadata",
            "test_cpu_api.py::test_open_rejects_corrupt_v3_metadata",
            "test_cpu_api.py::test_open_rejects_unused_shape",
            "test_cpu_api.py::test_frame_id_writes_do_not_disturb_header_crc",
            "test_cpu_api.py::test_open_rejects_metadata_name_mismatch",
            "test_cpu_api.py::test_new_stream_stamps_header_crc",
            "test_cpu_api.py::test_open_rejects_silent_bitflip_via_header_crc",
            "test_cpu_api.py::test_header_crc_flag_required_when_checksum_present",
            "test_cpu_api.py::test_discovery_ignores_corrupt_header_crc",
            "test_cpu_api.py::test_open_rejects_data_segment_size_mismatch",
            "test_cpu_api.py::test_open_rejects_truncated_metadata_segment",
            "test_cpu_api.py::test_hot_path_counters_are_8_byte_aligned",
            "test_cpu_api.py::test_read_stream_name_returns_none_for_legacy_short_segment",
        ],
    },
    Difference {
        reason: "private: asks for the names of pyshmem's segments or their longest name",
        reads: PRIVATE,
        tests: &[
            "test_cpu_api.py::test_list_streams_includes_user_visible_name_of_created_stream",
            "test_cpu_api.py::test_list_streams_segment_absent_after_unlink",
            "test_cpu_api.py::test_create_rejects_name_too_long_for_metadata",
        ],
    },
    Difference {
        reason: "private: replaces parts of multiprocessing.shared_memory, which is not used here",
        reads: PRIVATE,
        tests: &[
            "test_cpu_api.py::test_unregister_uses_platform_expected_shared_memory_name",
            "test_cpu_api.py::test_supports_track_matches_shared_memory_signature",
            "test_cpu_api.py::test_attach_segment_uses_track_false_when_supported",
            "test_cpu_api.py::test_attach_segment_falls_back_to_unregister_when_unsupported",
        ],
    },
    Difference {
        reason: "private: calls how pyshmem passes on and cleans up CUDA memory",
        reads: PRIVATE,
        tests: &[
            "test_cpu_api.py::test_restricted_cuda_unpickler_rejects_dangerous_globals",
            "test_cpu_api.py::test_remove_orphaned_cuda_ipc_files_returns_removed_basenames",
            "test_cpu_api.py::test_remove_orphaned_cuda_ipc_files_skips_live_producer_files",
            "test_cpu_api.py::test_cuda_ipc_file_producer_pid_parsing",
        ],
    },
    Difference {
        reason: "not offered: a set of dtypes for CUDA, for device streams have every dtype",
        reads: &["no attribute 'GPU_SUPPORTED_DTYPES'", "private: pyshmem._shared.DTYPE_TABLE"],
        tests: &[
            "test_cpu_api.py::test_gpu_supported_dtypes_is_public_frozenset",
            "test_cpu_api.py::test_gpu_supported_dtypes_contains_torch_mapped_types",
        ],
    },
    Difference {
        reason: "private: pokes at pyshmem's lock files and their state; ours are kernel locks of \
                 the segment itself",
        reads: PRIVATE,
        tests: &[
            "test_cpu_api.py::test_locked_many_validates_and_honors_poll_interval",
            "test_cpu_api.py::test_native_publication_path_avoids_file_barrier",
            "test_cpu_api.py::test_publication_file_barrier_fallback",
            "test_cpu_api.py::test_lock_path_default_includes_uid_prefix",
            "test_cpu_api.py::test_lock_path_uses_pyshmem_lock_dir_env_var",
            "test_cpu_api.py::test_locked_releases_the_lock_when_the_block_raises",
            "test_cpu_api.py::test_locked_many_releases_acquired_locks_when_one_times_out",
            "test_cpu_api.py::test_locked_many_accepts_duck_typed_handles",
            "test_cpu_api.py::test_last_close_releases_per_name_lock_file_descriptor",
            "test_cpu_api.py::test_refresh_if_stale_rebinds_new_inode",
            "test_cpu_api.py::test_refresh_if_stale_recreates_a_removed_lock_file",
            "test_cpu_api.py::test_acquire_reconverges_after_unlink_recreate",
            "test_cpu_api.py::test_unlink_recreate_preserves_name_lock_inode",
            "test_cpu_api.py::test_finalizer_during_lock_setup_does_not_deadlock",
            "test_cpu_api.py::test_finalizer_under_lock_guard_does_not_deadlock",
        ],
    },
    Difference {
        reason: "private: replaces how pyshmem asks whether a process lives; ours asks the kernel's \
                 locks",
        reads: PRIVATE,
        tests: &["test_cpu_api.py::test_pid_liveness_never_signals_on_windows"],
    },
    Difference {
        reason: "private: replaces the steps of pyshmem's waiting loop",
        reads: PRIVATE,
        tests: &[
            "test_cpu_api.py::test_notify_wait_sees_publication_between_check_and_park",
            "test_cpu_api.py::test_notify_read_new_sees_publication_between_check_and_park",
        ],
    },
    Difference {
        reason: "private: begins a write by pyshmem's internal steps, which no handle has here",
        reads: PRIVATE,
        tests: &[
            "test_cpu_api.py::test_read_new_waits_for_in_progress_write_to_complete",
            "test_cpu_api.py::test_failed_write_is_invalid_until_replaced",
            "test_cpu_api.py::test_read_timeout_bounds_in_progress_write",
        ],
    },
    Difference {
        reason: "private: a child begins a write by pyshmem's internal steps, fails at that, and is \
                 waited for; that a killed writer hides nothing is in tests of our own",
        reads: &["assert False"],
        tests: &[
            "test_cpu_api.py::test_notify_read_new_detects_writer_crash_mid_write",
            "test_cpu_api.py::test_reader_detects_writer_process_crash_mid_write",
            "test_cpu_api.py::test_repeated_writer_kills_recover_each_time",
        ],
    },
    Difference {
        reason: "private: a forked child looks at the state of pyshmem's lock; that it holds none \
                 is in tests of our own",
        reads: &["assert 2 == 0"],
        tests: &["test_cpu_api.py::test_fork_resets_inherited_lock_state"],
    },
    Difference {
        reason: "changed on purpose: every stream wakes its readers, so `notify` is always True",
        reads: &["assert True is False"],
        tests: &["test_cpu_api.py::test_notify_defaults_off_and_config_roundtrips"],
    },
    Difference {
        reason: "changed on purpose: a failed write leaves the previous frame readable",
        reads: &["DID NOT RAISE"],
        tests: &["test_cpu_api.py::test_write_view_aborts_publication_on_exception"],
    },
    Difference {
        reason: "changed on purpose: a write to a replaced stream is an error, not lost in silence",
        reads: &["StaleStreamError"],
        tests: &["test_cpu_api.py::test_stale_handle_cannot_unlink_replacement"],
    },
    Difference {
        reason: "not offered: the command line of pyshmem is a module of its own",
        reads: &["No module named 'pyshmem._cli'"],
        tests: &[
            "test_cpu_api.py::test_cli_list_shows_created_stream_name",
            "test_cpu_api.py::test_cli_unlink_destroys_named_stream",
            "test_cpu_api.py::test_cli_unlink_multiple_names",
            "test_cpu_api.py::test_cli_no_command_exits_nonzero",
            "test_cpu_api.py::test_cli_purge_cuda_orphans_requires_explicit_flag",
        ],
    },
];

/// Tests of 1.4.0 that are not even started.
pub const NOT_RUN: &[Difference] = &[Difference {
    reason: "would remove every stream of the person who runs it, whoever is attached",
    reads: &[],
    tests: &[
        "test_cpu_api.py::test_purge_removes_stream_segments_and_reports_name",
        "test_cpu_api.py::test_purge_only_removes_cuda_orphans_when_explicitly_requested",
        "test_cpu_api.py::test_purge_preserves_unvalidated_ps_prefixed_segments",
    ],
}];

/// Tests that need a certain speed of the machine. One that fails for want of it is tried again.
pub const TIMED: &[Difference] = &[Difference {
    reason: "gives five new processes 1.5 s to start and to read at least once",
    reads: &["where False = all("],
    tests: &["test_cpu_api.py::test_cross_process_writers_and_readers_never_tear"],
}];

/// GPU tests of 1.0.1 that compute on the device with PyTorch, which the simulated driver cannot do.
/// They go as far as that.
pub const COMPUTED: &[Difference] = &[
    Difference {
        reason: "multiplies on the device, for which PyTorch and a GPU are needed",
        reads: &["needs a PyTorch kernel: Tensor.__matmul__"],
        tests: &["test_benchmark.py::test_gpu_shared_memory_mvm_pipeline"],
    },
    Difference {
        reason: "makes vectors and multiplies on the device, for which PyTorch and a GPU are needed",
        reads: &["needs a PyTorch kernel: torch.linspace"],
        tests: &["test_benchmark.py::test_gpu_device_resident_mvm_pipeline"],
    },
];
