//! The one session of a notebook: `lab` in the cells, the commands behind `%`.

use paella::face::common::{self, Common};
use paella::lab::Lab;
use std::cell::{Cell, OnceCell, RefCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

thread_local! {
    static LAB: OnceCell<Rc<RefCell<Lab>>> = const { OnceCell::new() };
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// The session, made on first use. PAELLA_MODEL and PAELLA_DEVICE name the model and the device; default: the first shipped
/// model on the available device.
///
/// Errors: as `common::lab`.
pub(crate) fn lab() -> paella::Result<Rc<RefCell<Lab>>> {
    LAB.with(|slot| {
        if let Some(lab) = slot.get() {
            return Ok(lab.clone());
        }
        let lab = common::lab(&Common::from_env()?)?;
        Ok(slot.get_or_init(|| Rc::new(RefCell::new(lab))).clone())
    })
}

/// The variable `lab`: use it as a `paella::lab::Lab`. It holds no state, so the session survives a panic.
#[derive(Debug)]
pub struct Session {
    /// Bound to the thread of the cells.
    here: PhantomData<*const ()>,
}

/// The session as a variable. The kernel calls it when it starts; there is one at a time.
pub fn session() -> paella::Result<Session> {
    lab()?;
    if TAKEN.replace(true) {
        let hint = "use the variable `lab`, or `drop(lab)` first";
        return Err(paella::Error::command("the session is in use already", "session()", hint));
    }
    Ok(Session { here: PhantomData })
}

impl Drop for Session {
    fn drop(&mut self) {
        TAKEN.set(false);
    }
}

impl Deref for Session {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        let lab = lab().expect("`session` has made it");
        // SAFETY: the session lives as long as this thread; there is one `Session`, on this thread; commands run between
        // cells, when nobody holds a borrow.
        unsafe { &*lab.as_ptr() }
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Lab {
        let lab = lab().expect("`session` has made it");
        // SAFETY: as above, and `&mut self` keeps out other borrows of the same `Session`.
        unsafe { &mut *lab.as_ptr() }
    }
}

/// Within a cell: look at the session, if it is made already.
pub(crate) fn peek<T>(look: impl FnOnce(&Lab) -> T) -> Option<T> {
    let lab = LAB.with(|slot| slot.get().cloned())?;
    // SAFETY: on the thread of the cells, which is busy showing a value: nobody works on the session meanwhile.
    Some(look(unsafe { &*lab.as_ptr() }))
}

/// Between two cells: work on the session.
///
/// Errors: the session cannot be made, or as `work`.
pub(crate) fn between_cells<T>(
    work: impl FnOnce(&mut Lab) -> paella::Result<T>,
) -> paella::Result<T> {
    work(&mut lab()?.borrow_mut())
}
