//! Calls of a server, objects, tasks, servers.

use super::{Behaviour, by, differs, inside};

pub(super) const TABLE: &[Behaviour] = &[
    // Calls.
    by(
        "an unknown endpoint has code 2",
        "test_parity_served.py::test_an_unknown_endpoint_has_code_2",
    ),
    by("a configuration error has code 6", "test_parity_served.py::test_a_format_names_the_call"),
    by(
        "an error of the endpoint has code 7, its message and its class",
        "test_parity_served.py::test_an_error_of_the_endpoint_has_code_7",
    ),
    by(
        "the text of a remote error begins with its code",
        "test_parity_served.py::test_an_error_of_the_endpoint_has_code_7",
    ),
    by(
        "failures are not cached",
        "test_parity_served.py::test_an_error_of_the_endpoint_has_code_7",
    ),
    by("errors have one base class", "test_parity.py::test_errors_have_one_base"),
    by(
        "a remote error carries code, data and error_type",
        "test_parity.py::test_errors_have_one_base",
    ),
    by("None is a result", "test_parity_served.py::test_a_call_without_arguments_and_result"),
    by("None is cached", "test_parity_served.py::test_a_call_without_arguments_and_result"),
    by("a direct result is cached by the server", "test_parity_served.py::test_a_result_is_cached"),
    by("position and name are the same call", "test_parity_served.py::test_a_result_is_cached"),
    by(
        "calls of one format key are one call",
        "test_parity_served.py::test_a_format_names_the_call",
    ),
    by(
        "a call of a task endpoint waits for it",
        "test_parity_served.py::test_the_example_of_the_readme",
    ),
    by("callers of one key share a build", "test_parity_served.py::test_callers_of_one_key_join"),
    by(
        "serialized builds do not overlap",
        "test_parity_served.py::test_serialized_builds_do_not_overlap",
    ),
    by("parallel builds overlap", "test_parity_served.py::test_serialized_builds_do_not_overlap"),
    by(
        "a call that takes too long is a client error",
        "test_parity_served.py::test_a_client_gives_up_in_time",
    ),
    by(
        "a client waits for a server that starts later",
        "test_parity_served.py::test_a_client_waits_for_its_server",
    ),
    by(
        "ping is False where nobody serves",
        "test_parity_served.py::test_a_client_waits_for_its_server",
    ),
    inside(
        "a missing payload is a protocol error",
        "the client never sees bodies; shm-cuda's decoder is tested with hostile bytes",
    ),
    inside(
        "parameters of requests are checked one by one",
        "requests are typed; shm-cuda's decoder is tested with hostile bytes",
    ),
    inside(
        "an unknown method is a protocol error",
        "kinds of requests are numbers; shm-cuda's tests send unknown ones",
    ),
    inside(
        "garbage is answered by an error frame",
        "shm-cuda's tests send garbage to a real server",
    ),
    // Managed objects.
    by(
        "the README's two processes with a managed model",
        "test_parity_served.py::test_the_example_of_the_readme",
    ),
    by(
        "a handle releases at the end of its with block",
        "test_parity_served.py::test_the_example_of_the_readme",
    ),
    by("a managed result is a handle", "test_parity_served.py::test_the_example_of_the_readme"),
    by(
        "cached calls share an object, counted",
        "test_parity_served.py::test_managed_results_share_one_object",
    ),
    by("a handle is released once", "test_parity_served.py::test_managed_results_share_one_object"),
    by(
        "the last release ends the object",
        "test_parity_served.py::test_managed_results_share_one_object",
    ),
    by(
        "an object's info has endpoint, key, count, times and server",
        "test_parity_served.py::test_an_object_says_what_it_is",
    ),
    by("a handle knows its server", "test_parity_served.py::test_an_object_says_what_it_is"),
    by(
        "a handle remembers its info until it is refreshed",
        "test_parity_served.py::test_what_an_object_says_is_remembered",
    ),
    by(
        "a released handle has no info",
        "test_parity_served.py::test_what_an_object_says_is_remembered",
    ),
    by(
        "uncached managed results are objects of their own",
        "test_parity_served.py::test_uncached_objects_are_apart",
    ),
    by("release_many tells of each", "test_parity_served.py::test_uncached_objects_are_apart"),
    by("an unknown id is not released", "test_parity_served.py::test_uncached_objects_are_apart"),
    by(
        "invalidating a call leaves its object alone",
        "test_parity_served.py::test_invalidation_leaves_handles_alone",
    ),
    by(
        "invalidating an endpoint leaves its objects alone",
        "test_parity_served.py::test_invalidation_leaves_handles_alone",
    ),
    by(
        "invalidating what is not cached is False",
        "test_parity_served.py::test_invalidation_leaves_handles_alone",
    ),
    by(
        "a missing object makes a handle stale",
        "test_parity_served.py::test_a_stale_handle_is_told",
    ),
    by(
        "another server makes a handle stale",
        "test_parity_served.py::test_handles_know_another_start_of_the_server",
    ),
    by(
        "counts are right with many threads",
        "test_parity_served.py::test_many_threads_count_right",
    ),
    differs(
        "any client releases any object",
        "a lease is its client's; another's is refused, and all end with the connection",
    ),
    // Tasks.
    by("submit, then wait", "test_parity_served.py::test_a_task_is_submitted_and_waited_for"),
    by("a task's result stays", "test_parity_served.py::test_a_task_is_submitted_and_waited_for"),
    by(
        "a wait's callback hears of the task",
        "test_parity_served.py::test_a_task_is_submitted_and_waited_for",
    ),
    by("a task tells its times", "test_parity_served.py::test_a_task_is_submitted_and_waited_for"),
    by("a managed task gives a handle", "test_parity_served.py::test_a_task_gives_a_handle"),
    by(
        "a cached submit gives the same object",
        "test_parity_served.py::test_a_task_gives_a_handle",
    ),
    by("a task's result may be None", "test_parity_served.py::test_a_task_may_have_no_result"),
    by(
        "a failed task is a task error with its message",
        "test_parity_served.py::test_a_failed_task_says_why",
    ),
    by(
        "a failed task tells class and message",
        "test_parity_served.py::test_a_failed_task_says_why",
    ),
    by(
        "the result of a task that is not over has code 5",
        "test_parity_served.py::test_a_task_that_is_not_over",
    ),
    by(
        "a wait ends in time and says how long it was",
        "test_parity_served.py::test_a_task_that_is_not_over",
    ),
    by("a pending task is cancelled", "test_parity_served.py::test_a_pending_task_is_cancelled"),
    by(
        "a task that is over is not cancelled",
        "test_parity_served.py::test_a_pending_task_is_cancelled",
    ),
    by(
        "waiting for a cancelled task is a task error",
        "test_parity_served.py::test_a_pending_task_is_cancelled",
    ),
    by("an unknown task has code 5", "test_parity_served.py::test_a_pending_task_is_cancelled"),
    by("tasks are listed, all or by status", "test_parity_served.py::test_tasks_are_listed"),
    by(
        "TaskInfo is plain data there and back",
        "test_parity.py::test_records_of_tasks_are_plain_data",
    ),
    by(
        "the task client has the helpers of the other",
        "test_parity_served.py::test_the_task_client_has_the_helpers_of_the_other",
    ),
    inside("results expire after result_ttl", "shm-cuda tests it with a clock of its own"),
    inside("at most so many tasks are known", "shm-cuda tests the bound of its service"),
    inside("the oldest task that is over goes first", "shm-cuda tests the bound of its service"),
    // Servers.
    by("ping", "test_parity_served.py::test_the_server_answers"),
    by(
        "a server's info has all documented fields",
        "test_parity_served.py::test_the_server_answers",
    ),
    by("a server counts", "test_parity_served.py::test_the_server_counts"),
    by(
        "a client lists endpoints with their options",
        "test_parity_served.py::test_endpoints_are_listed_to_clients",
    ),
    by(
        "a server starts in the background",
        "test_parity.py::test_a_server_starts_in_the_background_and_stops_at_once",
    ),
    by(
        "a server is started once",
        "test_parity.py::test_a_server_starts_in_the_background_and_stops_at_once",
    ),
    by(
        "stop is done twice without harm",
        "test_parity.py::test_a_server_starts_in_the_background_and_stops_at_once",
    ),
    by(
        "a blocking start ends with a stop",
        "test_parity.py::test_a_blocking_start_returns_when_it_is_stopped",
    ),
    by(
        "process_start_method is refused in the background",
        "test_parity.py::test_a_background_server_has_no_start_method",
    ),
    by("stop waits for running tasks", "test_parity.py::test_a_stop_waits_for_what_runs"),
    by("a stopped server refuses", "test_parity.py::test_a_stop_waits_for_what_runs"),
    inside(
        "servers of a process are registered by path, one for each",
        "a path belongs to one live server of the machine, by a lock of the kernel",
    ),
    // Logging.
    differs(
        "a handler is installed on import",
        "a library leaves logging to the program; the logger is shm_py.share",
    ),
    inside("the handler survives a closed stream", "there is no handler"),
];
