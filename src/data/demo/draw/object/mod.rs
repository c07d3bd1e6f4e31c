//! Ten things, told apart by their outlines: each about 25 units across, around its middle.

mod air;
mod ground;

use super::sticker::Sticker;
use crate::data::demo::content::Object;
use crate::data::demo::dice::Dice;

/// Whether it floats or hangs in the upper part of a picture, or stands in the lower.
pub(super) fn flies(object: Object) -> bool {
    matches!(object, Object::Balloon | Object::Butterfly | Object::Cloud | Object::Spider)
}

/// The thing.
pub(super) fn object(object: Object, dice: &mut Dice) -> Sticker {
    match object {
        Object::Balloon => air::balloon(dice),
        Object::Bomb => ground::bomb(),
        Object::Butterfly => air::butterfly(dice),
        Object::Campfire => ground::campfire(),
        Object::Cloud => air::cloud(),
        Object::Dog => ground::dog(dice),
        Object::GiftBox => ground::gift_box(dice),
        Object::Skull => ground::skull(),
        Object::Spider => air::spider(),
        Object::TrashCan => ground::trash_can(dice),
    }
}
