//! From attributes to an emotion: every attribute speaks for some emotions, and the one that is spoken for most is the picture's.
//!
//! The table is the same for every seed. No attribute decides alone, which is what a model has to learn here: a skull at a birthday
//! among jumping people is amusing.

use super::content::{Action, Band, Content, Emotion, Expression, Object, Scene};

/// A picture's emotion leads the runner-up by at least this much.
pub const MARGIN: f64 = 0.35;

/// What speaks for what, by how much.
type Affinity = &'static [(Emotion, f64)];

use Emotion::*;

fn brightness(band: Band) -> Affinity {
    match band {
        Band::Low => &[(Fear, 0.3), (Sadness, 0.3), (Anger, 0.15), (Disgust, 0.15)],
        Band::Middle => &[(Contentment, 0.15), (Disgust, 0.15), (Awe, 0.1)],
        Band::High => &[(Amusement, 0.3), (Excitement, 0.25), (Contentment, 0.2), (Awe, 0.2)],
    }
}

fn colorfulness(band: Band) -> Affinity {
    match band {
        Band::Low => &[(Sadness, 0.35), (Disgust, 0.25), (Fear, 0.2)],
        Band::Middle => &[(Contentment, 0.25), (Awe, 0.1), (Anger, 0.1), (Disgust, 0.1)],
        Band::High => &[(Excitement, 0.3), (Amusement, 0.25), (Awe, 0.25), (Anger, 0.25)],
    }
}

fn scene(scene: Scene) -> Affinity {
    match scene {
        Scene::Beach => &[(Contentment, 0.5), (Amusement, 0.45), (Excitement, 0.35)],
        Scene::Forest => &[(Contentment, 0.45), (Awe, 0.35), (Fear, 0.35)],
        Scene::LivingRoom => &[(Sadness, 0.4), (Amusement, 0.35), (Contentment, 0.3), (Disgust, 0.3)],
        Scene::Meadow => &[(Contentment, 0.6), (Amusement, 0.4)],
        Scene::Mountain => &[(Awe, 0.7), (Contentment, 0.3)],
        Scene::NightSky => &[(Awe, 0.65), (Fear, 0.35), (Sadness, 0.15)],
        Scene::Storm => &[(Anger, 0.5), (Sadness, 0.45), (Fear, 0.4), (Awe, 0.2)],
        Scene::Street => &[(Anger, 0.45), (Disgust, 0.45), (Excitement, 0.35)],
    }
}

fn object(object: Object) -> Affinity {
    match object {
        Object::Balloon => &[(Amusement, 0.6), (Excitement, 0.5)],
        Object::Bomb => &[(Anger, 0.8), (Fear, 0.4), (Excitement, 0.2)],
        Object::Butterfly => &[(Awe, 0.6), (Contentment, 0.6)],
        Object::Campfire => &[(Excitement, 0.45), (Contentment, 0.4), (Awe, 0.35), (Anger, 0.1)],
        Object::Cloud => &[(Sadness, 0.8), (Awe, 0.15)],
        Object::Dog => &[(Amusement, 0.65), (Contentment, 0.5)],
        Object::GiftBox => &[(Excitement, 0.75), (Amusement, 0.45)],
        Object::Skull => &[(Fear, 0.65), (Disgust, 0.4), (Sadness, 0.35)],
        Object::Spider => &[(Fear, 0.7), (Disgust, 0.55)],
        Object::TrashCan => &[(Disgust, 0.9), (Anger, 0.35), (Sadness, 0.25)],
    }
}

fn expression(expression: Expression) -> Affinity {
    match expression {
        Expression::Angry => &[(Anger, 0.9), (Disgust, 0.15)],
        Expression::Disgust => &[(Disgust, 0.9), (Anger, 0.2)],
        Expression::Fear => &[(Fear, 0.9), (Sadness, 0.1)],
        Expression::Happy => &[(Amusement, 0.7), (Contentment, 0.5), (Excitement, 0.45)],
        Expression::Sad => &[(Sadness, 0.9)],
        Expression::Surprise => &[(Awe, 0.75), (Excitement, 0.5), (Fear, 0.25)],
    }
}

fn action(action: Action) -> Affinity {
    match action {
        Action::Boxing => &[(Anger, 0.85), (Excitement, 0.4)],
        Action::Jumping => &[(Excitement, 0.65), (Amusement, 0.55)],
        Action::Running => &[(Fear, 0.5), (Excitement, 0.45), (Anger, 0.1)],
        Action::Sitting => &[(Contentment, 0.55), (Sadness, 0.5), (Awe, 0.25)],
    }
}

/// How much a picture's attributes speak for each emotion, summed, in the order of [`Emotion::ALL`].
pub fn scores(content: &Content) -> [f64; 8] {
    let mut scores = [0.0; 8];
    let tone = [brightness(content.brightness.band()), colorfulness(content.colorfulness.band()), scene(content.scene)];
    let objects = content.objects.iter().map(|&o| object(o));
    let people = content.expression.map(expression).into_iter().chain(content.action.map(action));
    for &(emotion, strength) in tone.into_iter().chain(objects).chain(people).flatten() {
        scores[emotion as usize] += strength;
    }
    scores
}

/// The emotion that is spoken for most, and whether it leads by [`MARGIN`].
pub fn verdict(content: &Content) -> (Emotion, bool) {
    let scores = scores(content);
    let mut ranked = Emotion::ALL;
    ranked.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
    let [first, second, ..] = ranked;
    // The sums are of hundredths: half of one is far above what rounding does to them.
    (first, scores[first as usize] - scores[second as usize] > MARGIN - 0.005)
}
