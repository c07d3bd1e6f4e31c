//! How much of an annotation a caption says.

use super::words::{action, clean, place, words};
use super::{band, wording};
use crate::data::attributes::Attributes;
use serde::Serialize;

/// A kind of attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // The fields of `Attributes`.
pub enum Group {
    Brightness,
    Colorfulness,
    Scene,
    Object,
    Expression,
    Action,
}

impl Group {
    /// All of them.
    pub const ALL: [Group; 6] = [Group::Brightness, Group::Colorfulness, Group::Scene, Group::Object, Group::Expression, Group::Action];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Brightness => "brightness",
            Group::Colorfulness => "colorfulness",
            Group::Scene => "scene",
            Group::Object => "object",
            Group::Expression => "expression",
            Group::Action => "action",
        }
    }
}

/// Which of a picture's attributes a caption says, each object for itself, in the order of [`Group::ALL`]. Attribute recall is the
/// share that is said.
///
/// Brightness and colorfulness are said by any wording of their band, an expression by any wording of its face, scene, object and action by
/// their name. Names count as whole words, in whatever case: "treehouse" says no tree, "balloons" no balloon. The longest are looked
/// for first and no word counts twice: "a christmas tree" says no other tree.
pub fn recall(text: &str, attributes: &Attributes) -> Vec<(Group, bool)> {
    let known = |wordings: &[&str]| wordings.iter().map(|wording| words(wording)).collect::<Vec<_>>();
    let named = |name: &str| vec![words(name)];
    let mut asked: Vec<(Group, Vec<Vec<String>>)> = Vec::new();
    asked.extend(attributes.brightness.map(|level| (Group::Brightness, known(wording::brightness(band(level))))));
    asked.extend(attributes.colorfulness.map(|level| (Group::Colorfulness, known(wording::colorfulness(band(level))))));
    asked.extend(attributes.scene.as_deref().map(|scene| (Group::Scene, known(&[&place(scene), &clean(scene)]))));
    let mut objects: Vec<Vec<String>> = Vec::new();
    for object in attributes.object.iter().map(|name| words(name)) {
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
    asked.extend(objects.into_iter().map(|object| (Group::Object, vec![object])));
    asked.extend(attributes.facial_expression.as_deref().filter(|name| !clean(name).is_empty()).map(|name| {
        let faces = wording::expression(name).map_or_else(|| named(&format!("{name} face")), known);
        (Group::Expression, faces)
    }));
    asked.extend(attributes.human_action.as_deref().map(|name| (Group::Action, named(&action(name)))));
    // What has no name cannot be said.
    asked.iter_mut().for_each(|(_, wordings)| wordings.retain(|wording| !wording.is_empty()));
    asked.retain(|(_, wordings)| !wordings.is_empty());

    let mut heard: Vec<Option<String>> = words(text).into_iter().map(Some).collect();
    let mut said = vec![false; asked.len()];
    let mut tries: Vec<(usize, &Vec<String>)> =
        asked.iter().enumerate().flat_map(|(i, (_, wordings))| wordings.iter().map(move |w| (i, w))).collect();
    tries.sort_by_key(|(_, wording)| std::cmp::Reverse(wording.len()));
    for (asked, wording) in tries {
        if !said[asked] {
            said[asked] = take(&mut heard, wording);
        }
    }
    asked.iter().zip(said).map(|(&(group, _), said)| (group, said)).collect()
}

/// Whether the words stand there, one after another; they are used up.
fn take(heard: &mut [Option<String>], wording: &[String]) -> bool {
    let found = heard.windows(wording.len()).position(|run| run.iter().zip(wording).all(|(heard, word)| heard.as_ref() == Some(word)));
    if let Some(run) = found.and_then(|at| heard.get_mut(at..at + wording.len())) {
        run.fill(None);
    }
    found.is_some()
}
