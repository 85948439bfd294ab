//! Modes, registration, calls in the own process, and what is a value.

use super::{Behaviour, by, differs, gpu, inside};

pub(super) const TABLE: &[Behaviour] = &[
    // Modes and configuration.
    by("a provider is local by default", "test_parity.py::test_mode_is_local_by_default"),
    by("enabled without a role is a client", "test_parity.py::test_enabled_means_client"),
    by("1, true, yes and on enable it, in any case", "test_parity.py::test_enabled_means_client"),
    by("the role server makes a server", "test_parity.py::test_the_role_chooses"),
    by("the role client makes a client", "test_parity.py::test_the_role_chooses"),
    by("the role local stays local", "test_parity.py::test_the_role_chooses"),
    by(
        "enabled=True beats an environment that says nothing",
        "test_parity.py::test_the_argument_beats_the_environment",
    ),
    by(
        "enabled=False beats an environment that enables",
        "test_parity.py::test_the_argument_beats_the_environment",
    ),
    by("an explicit mode beats everything", "test_parity.py::test_an_explicit_mode_is_taken"),
    by("an unknown mode is a configuration error", "test_parity.py::test_another_mode_is_refused"),
    differs(
        "an unknown role in the environment means client",
        "a misspelt role is refused, with the nearest one named",
    ),
    by(
        "SHARED_TENSOR_BASE_PATH is where the service is",
        "test_parity.py::test_the_environment_says_where",
    ),
    differs(
        "SHARED_TENSOR_BASE_PATH beats an explicit base_path",
        "the argument beats the environment, for providers and clients alike",
    ),
    differs(
        "the base path is /tmp/shared-tensor by default",
        "a socket in a world-writable folder can be squatted; it lies in the user's runtime folder",
    ),
    by(
        "the device index is part of the socket's name",
        "test_parity.py::test_the_device_is_in_the_name_of_the_socket",
    ),
    by(
        "a negative device index is a configuration error",
        "test_parity.py::test_the_device_is_in_the_name_of_the_socket",
    ),
    gpu("without an index the current CUDA device counts", "asks PyTorch for the current device"),
    gpu("LOCAL_RANK chooses the device that endpoints run on", "sets a CUDA device"),
    inside(
        "the startup timeout is handed to the server",
        "the option is taken; a server here serves when its start returns",
    ),
    // Registration.
    by("register keeps all options", "test_parity.py::test_registration_keeps_the_options"),
    by("list_endpoints tells the options", "test_parity.py::test_endpoints_are_listed"),
    by("a name is registered once", "test_parity.py::test_a_name_is_taken_once"),
    by(
        "an unknown execution is a configuration error",
        "test_parity.py::test_other_values_of_options_are_refused",
    ),
    by(
        "an unknown concurrency is a configuration error",
        "test_parity.py::test_other_values_of_options_are_refused",
    ),
    differs(
        "unknown options of share are swallowed",
        "a misspelt option is a TypeError that names the nearest one",
    ),
    by(
        "share decorates without options",
        "test_parity.py::test_the_decorator_works_with_and_without_options",
    ),
    by(
        "share decorates with options",
        "test_parity.py::test_the_decorator_works_with_and_without_options",
    ),
    by(
        "the wrapper is named like the function",
        "test_parity.py::test_the_decorator_works_with_and_without_options",
    ),
    by(
        "the wrapper has submit",
        "test_parity.py::test_the_decorator_works_with_and_without_options",
    ),
    by(
        "an unknown endpoint is a provider error",
        "test_parity.py::test_an_unknown_endpoint_is_named",
    ),
    // Providers in local mode.
    by("a local result is cached", "test_parity.py::test_a_local_result_is_cached"),
    by("cache=False runs the function each time", "test_parity.py::test_a_local_result_is_cached"),
    differs(
        "the default key ignores the arguments",
        "f(1) and f(2) are two calls: the default key is made of all arguments",
    ),
    by(
        "cache_format_key is made of bound arguments, defaults filled in",
        "test_parity.py::test_a_key_is_made_of_bound_arguments",
    ),
    by(
        "a format that names no argument fails when it is called",
        "test_parity.py::test_a_key_that_names_no_argument_is_refused_by_the_call",
    ),
    by(
        "a local call's cache is invalidated",
        "test_parity.py::test_local_results_are_forgotten_on_demand",
    ),
    by(
        "a local endpoint's cache is invalidated",
        "test_parity.py::test_local_results_are_forgotten_on_demand",
    ),
    by("runtime info of a local provider", "test_parity.py::test_runtime_info_of_a_local_provider"),
    by("submit is refused in local mode", "test_parity.py::test_only_clients_submit"),
    by("execute is refused where submit is", "test_parity.py::test_only_clients_submit"),
    // Providers in server mode.
    by("submit is refused in server mode", "test_parity.py::test_only_clients_submit"),
    by(
        "auto mode with the role of a server starts one with the first function",
        "test_parity.py::test_the_first_shared_function_starts_the_server",
    ),
    by("it is started once", "test_parity.py::test_the_first_shared_function_starts_the_server"),
    by(
        "a local call of an automatic server runs in it",
        "test_parity.py::test_the_first_shared_function_starts_the_server",
    ),
    by(
        "an explicit server is not started by itself",
        "test_parity.py::test_an_explicit_server_waits_to_be_started",
    ),
    by(
        "calls in server mode use the server's cache",
        "test_parity.py::test_server_mode_uses_the_cache_of_the_server",
    ),
    by(
        "local and remote callers share cache and objects",
        "test_parity.py::test_server_mode_uses_the_cache_of_the_server",
    ),
    by(
        "a managed call in server mode gives the value itself",
        "test_parity.py::test_server_mode_uses_the_cache_of_the_server",
    ),
    by(
        "runtime info of a serving provider",
        "test_parity.py::test_server_mode_uses_the_cache_of_the_server",
    ),
    by(
        "a server's call is invalidated from its own process",
        "test_parity.py::test_server_mode_forgets_on_demand",
    ),
    by(
        "a server's endpoint is invalidated from its own process",
        "test_parity.py::test_server_mode_forgets_on_demand",
    ),
    by(
        "a client in the server's process waits for a task endpoint",
        "test_parity.py::test_a_local_client_waits_for_a_task",
    ),
    by("close stops the server", "test_parity.py::test_closing_stops_the_server"),
    by("close is done twice without harm", "test_parity.py::test_closing_stops_the_server"),
    // Providers in client mode.
    by(
        "the client is made when it is first needed",
        "test_parity.py::test_a_client_connects_when_it_is_first_asked",
    ),
    by(
        "a wrapper in client mode calls the server",
        "test_parity_served.py::test_a_provider_in_client_mode_calls_the_server",
    ),
    by(
        "runtime info of a client holds the server's",
        "test_parity_served.py::test_a_provider_in_client_mode_calls_the_server",
    ),
    by(
        "a provider's invalidation reaches the server",
        "test_parity_served.py::test_a_provider_in_client_mode_calls_the_server",
    ),
    by("execute waits by default", "test_parity_served.py::test_a_provider_in_client_mode_submits"),
    by(
        "execute with wait=False gives the task's id",
        "test_parity_served.py::test_a_provider_in_client_mode_submits",
    ),
    by(
        "the wrapper's submit gives a task",
        "test_parity_served.py::test_a_provider_in_client_mode_submits",
    ),
    by(
        "a provider forwards status, result, wait, cancel and list",
        "test_parity_served.py::test_a_provider_in_client_mode_submits",
    ),
    by(
        "closing a provider closes its clients",
        "test_parity_served.py::test_a_provider_in_client_mode_submits",
    ),
    // The transport.
    inside(
        "a frame of pickled data goes round",
        "frames have a header and CBOR, never pickle; shm-cuda tests them, with golden vectors and hostile bytes",
    ),
    inside(
        "a frame goes through a pair of sockets",
        "frames have a header and CBOR, never pickle; shm-cuda tests them, with golden vectors and hostile bytes",
    ),
    inside(
        "bad pickle is a protocol error",
        "frames have a header and CBOR, never pickle; shm-cuda tests them, with golden vectors and hostile bytes",
    ),
    inside(
        "a frame of no length is an error",
        "frames have a header and CBOR, never pickle; shm-cuda tests them, with golden vectors and hostile bytes",
    ),
    inside(
        "an end in the middle of a frame is a client error",
        "frames have a header and CBOR, never pickle; shm-cuda tests them, with golden vectors and hostile bytes",
    ),
    // Values.
    by("scalars are arguments", "test_parity_served.py::test_values_come_back_as_they_went"),
    by(
        "tuples, lists and dicts are arguments and results",
        "test_parity_served.py::test_values_come_back_as_they_went",
    ),
    by(
        "a tensor comes back as it went",
        "test_parity_served.py::test_values_come_back_as_they_went",
    ),
    by("keys of dicts are text", "test_parity_served.py::test_keys_of_dicts_are_text"),
    by(
        "a call without arguments",
        "test_parity_served.py::test_a_call_without_arguments_and_result",
    ),
    by("the key of a call is stable", "test_parity_served.py::test_an_object_says_what_it_is"),
    differs("a plain result is refused", "plain data travels like tensors"),
    differs("a plain result is refused with code 4", "plain data travels like tensors"),
    differs("a scalar result is refused remotely", "plain data travels like tensors"),
    differs(
        "a CPU tensor is refused",
        "host tensors travel as shared memory; that is what a machine without a GPU is for",
    ),
    differs(
        "a CPU module is refused",
        "host tensors travel as shared memory; that is what a machine without a GPU is for",
    ),
    differs(
        "a CPU transformers model is refused",
        "host tensors travel as shared memory; that is what a machine without a GPU is for",
    ),
    differs(
        "bytes, sets and unknown objects are normalised for the key by repr",
        "what cannot travel is a TypeError that says where it stands; there is no key of a repr",
    ),
    differs(
        "control payloads are only for empty arguments",
        "there is one encoding for all arguments",
    ),
    gpu(
        "a CUDA tensor goes round",
        "shares memory of a real device between PyTorch's tensors; on the simulated driver shm-cuda tests the same",
    ),
    gpu(
        "a CUDA module goes round",
        "shares memory of a real device between PyTorch's tensors; on the simulated driver shm-cuda tests the same",
    ),
    gpu(
        "scalars go beside CUDA tensors",
        "shares memory of a real device between PyTorch's tensors; on the simulated driver shm-cuda tests the same",
    ),
    gpu(
        "a client's tensor is made on its device",
        "shares memory of a real device between PyTorch's tensors; on the simulated driver shm-cuda tests the same",
    ),
    gpu("a transformers model goes round", "needs transformers and PyTorch on a GPU"),
    gpu("the layout of a transformers model is kept", "needs transformers and PyTorch on a GPU"),
    gpu("a change in the client is seen by the server", "needs transformers and PyTorch on a GPU"),
    differs(
        "a client gets the missing source of a model's classes from the server",
        "no code from the wire: an unknown class comes as a bundle of its tensors",
    ),
];
