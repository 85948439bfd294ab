//! Memory of this process that a server is about to open.
//!
//! Upholds invariant 6: memory of a device that is sent by a legacy handle can be opened only while its
//! owner keeps it. So it is kept until the server has answered, and for a task until that is over.

use parking_lot::Mutex;
use shm_cuda::share::{
    Ask, ClientError, FailureKind, Response, Storage, TaskId, TaskInfo, TaskState,
};
use std::collections::HashMap;

/// Storages of one request.
pub(super) type Lent = Vec<Storage>;

/// Storages of tasks that may not have begun.
#[derive(Default)]
pub(super) struct Tasks(Mutex<HashMap<TaskId, Lent>>);

/// The task that a request asks about, and whether it waits for its end.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    task: TaskId,
    waits: bool,
}

/// What of a request has to be kept.
pub(super) fn of(ask: &Ask) -> Lent {
    let (Ask::Call(_, arguments) | Ask::Submit(_, arguments) | Ask::InvalidateCall(_, arguments)) =
        ask
    else {
        return Vec::new();
    };
    let mut lent: Lent = Vec::new();
    arguments.for_each_tensor(&mut |tensor| {
        let storage = tensor.storage();
        if !storage.survives_owner() && !lent.iter().any(|known| known.is_same(storage)) {
            lent.push(storage.clone());
        }
    });
    lent
}

/// The task whose end an answer to this request tells of, if it does.
pub(super) fn task_of(ask: &Ask) -> Option<Asked> {
    let (task, waits) = match ask {
        Ask::WaitTask(task) => (*task, true),
        Ask::TaskResult(task) | Ask::CancelTask(task) => (*task, false),
        _ => return None,
    };
    Some(Asked { task, waits })
}

impl Tasks {
    /// Notes what an answer says of tasks; `lent` is what its request was sent with, `asked` the task that
    /// it asked about.
    pub(super) fn note(
        &self,
        outcome: &Result<Response, ClientError>,
        lent: &mut Lent,
        asked: Option<Asked>,
    ) {
        let task = asked.map(|asked| asked.task);
        let response = match outcome {
            Ok(response) => response,
            // Only who waited for its end knows that it has come.
            Err(ClientError::Failed(failure)) if failure.kind == FailureKind::Task => {
                return self.over(asked.filter(|asked| asked.waits).map(|asked| asked.task));
            }
            Err(_) => return,
        };
        match response {
            Response::Submitted(task) if !lent.is_empty() => {
                self.0.lock().insert(*task, core::mem::take(lent));
            }
            Response::Outcome(_) | Response::Cancelled(true) => self.over(task),
            Response::Task(info) => self.look(info),
            Response::Tasks(infos) => infos.iter().for_each(|info| self.look(info)),
            _ => {}
        }
    }

    /// Notes that a task is over, of whatever came of it.
    fn over(&self, task: Option<TaskId>) {
        if let Some(task) = task {
            self.forget(task);
        }
    }

    /// Lets everything go: the connection has ended.
    pub(super) fn clear(&self) {
        let all = core::mem::take(&mut *self.0.lock());
        drop(all);
    }

    fn look(&self, info: &TaskInfo) {
        if !matches!(info.state, TaskState::Pending | TaskState::Running) {
            self.forget(info.task);
        }
    }

    fn forget(&self, task: TaskId) {
        // What goes may be another library's object, whose end runs that library's code.
        let gone = self.0.lock().remove(&task);
        drop(gone);
    }
}
