//! What can be on a picture, and what is on one.

use super::affinity;
use super::dice::{Dice, Use};
use crate::data::attributes::Attributes;

macro_rules! names {
    ($(#[$doc:meta])* $kind:ident { $($(#[$what:meta])* $variant:ident = $name:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $kind { $($(#[$what])* #[doc = concat!("`", $name, "`")] $variant),* }

        impl $kind {
            /// All of them, in the order of their numbers.
            pub const ALL: [$kind; [$($name),*].len()] = [$($kind::$variant),*];

            /// Its name in annotations.
            pub const fn name(self) -> &'static str {
                match self { $($kind::$variant => $name),* }
            }
        }
    };
}

names! {
    /// The eight emotions by EmoSet's numbers.
    Emotion {
        Amusement = "amusement", Awe = "awe", Contentment = "contentment", Excitement = "excitement",
        Anger = "anger", Disgust = "disgust", Fear = "fear", Sadness = "sadness",
    }
}

names! {
    /// Where a picture plays, in names as Places gives them.
    Scene {
        Beach = "beach", Forest = "forest", LivingRoom = "living_room", Meadow = "meadow",
        Mountain = "mountain", NightSky = "night_sky", Storm = "storm", Street = "street",
    }
}

names! {
    /// Things, in names as Open Images gives them.
    Object {
        Balloon = "Balloon", Bomb = "Bomb", Butterfly = "Butterfly", Campfire = "Campfire", Cloud = "Cloud",
        Dog = "Dog", GiftBox = "Gift box", Skull = "Skull", Spider = "Spider", TrashCan = "Trash can",
    }
}

names! {
    /// What a face shows.
    Expression { Angry = "angry", Disgust = "disgust", Fear = "fear", Happy = "happy", Sad = "sad", Surprise = "surprise" }
}

names! {
    /// What a figure does.
    Action { Boxing = "boxing", Jumping = "jumping", Running = "running", Sitting = "sitting" }
}

/// A third of a scale from 0 to 1. Between the bands lie gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Band {
    /// 0.1 or 0.2.
    Low,
    /// 0.5.
    Middle,
    /// 0.8 or 0.9.
    High,
}

/// A number of the scale from 0 to 1 in steps of 0.1, as tenths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    /// Every level a picture may have.
    pub const ALL: [Level; 5] = [Level(1), Level(2), Level(5), Level(8), Level(9)];

    /// The number itself.
    pub fn value(self) -> f64 {
        f64::from(self.0) / 10.0
    }

    /// Where it lies.
    pub fn band(self) -> Band {
        match self.0 {
            ..4 => Band::Low,
            4..7 => Band::Middle,
            7.. => Band::High,
        }
    }

    /// Each band as likely as the next, each level of a band too.
    fn draw(dice: &mut Dice) -> Self {
        let [dark, dim, middle, light, bright] = Self::ALL;
        match dice.below(3) {
            0 => dice.pick(dark, &[dim]),
            1 => middle,
            _ => dice.pick(light, &[bright]),
        }
    }
}

/// What is on one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// How light the picture is.
    pub brightness: Level,
    /// How far its colours are from grey.
    pub colorfulness: Level,
    /// Where it plays.
    pub scene: Scene,
    /// One thing, or two that differ, in the order of [`Object::ALL`].
    pub objects: Vec<Object>,
    /// A face, if there is one.
    pub expression: Option<Expression>,
    /// A figure, if there is one.
    pub action: Option<Action>,
}

/// How often a picture has a face before emotions are asked for.
const FACES: f64 = 0.7;
/// How often it has a figure.
const FIGURES: f64 = 0.65;
/// How often it has a second object.
const SECONDS: f64 = 0.5;

impl Content {
    /// What is on picture `picture`, which shall raise `emotion`: contents are drawn until one does by [`affinity::MARGIN`]. About one in
    /// forty will do, for every emotion.
    pub(super) fn draw(seed: u64, picture: u32, emotion: Emotion) -> Self {
        let mut dice = Dice::new(seed, picture, Use::Content);
        loop {
            let content = Self::any(&mut dice);
            if affinity::verdict(&content) == (emotion, true) {
                return content;
            }
        }
    }

    fn any(dice: &mut Dice) -> Self {
        let (brightness, colorfulness) = (Level::draw(dice), Level::draw(dice));
        let scene = Scene::ALL[dice.below(Scene::ALL.len())];
        let [first, second, ..] = dice.shuffled(Object::ALL);
        let mut objects = if dice.chance(SECONDS) { vec![first, second] } else { vec![first] };
        objects.sort();
        let expression = dice.chance(FACES).then(|| Expression::ALL[dice.below(Expression::ALL.len())]);
        let action = dice.chance(FIGURES).then(|| Action::ALL[dice.below(Action::ALL.len())]);
        Content { brightness, colorfulness, scene, objects, expression, action }
    }

    /// The same in the words of an annotation.
    pub fn attributes(&self) -> Attributes {
        Attributes {
            brightness: Some(self.brightness.value()),
            colorfulness: Some(self.colorfulness.value()),
            scene: Some(self.scene.name().into()),
            object: self.objects.iter().map(|o| o.name().into()).collect(),
            facial_expression: self.expression.map(|e| e.name().into()),
            human_action: self.action.map(|a| a.name().into()),
        }
    }
}
