//! The layouts that data sets are published in, and how each is told from the files present.

use super::listing::Listing;
use super::{OpenOptions, abstracts, artphoto, csv, emoset, emotion6, emotionroi, folders, twitter};
use crate::error::{Error, Result};
use std::path::Path;
use std::str::FromStr;

/// How a data set lies on disk. Sources: the data sets' repositories and the loaders people use for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `train.json`, `val.json`, `test.json`, `annotation/`, `image/`: Yang et al. 2023, arXiv:2307.07961.
    EmoSet,
    /// A folder for each of the eight emotions, however their names are cut: You et al. 2016.
    Fi,
    /// `images/<emotion>/`, `training_testing_split/`: Peng et al. 2016.
    EmotionRoi,
    /// `images/<emotion>/`, `ground_truth.txt`: Peng et al. 2015.
    Emotion6,
    /// `Agg_AMT_Candidates/`, `three_agree.txt`, `four_agree.txt`, `five_agree.txt`: You et al. 2015.
    TwitterI,
    /// `testImages_artphoto/<emotion>_*.jpg`: Machajdik and Hanbury 2010.
    ArtPhoto,
    /// `ABSTRACT_groundTruth.csv`, counts of votes: Machajdik and Hanbury 2010.
    Abstract,
    /// A folder for each class, or such folders in `train/`, `val/` and `test/`.
    Folders,
    /// A file with the columns `image`, `label` and perhaps `caption`, `id`, `split`.
    Csv,
}

/// How many of the five people asked must agree on a picture of Twitter I: fewer, more pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Agreement {
    /// Three or more: all 1,269 pictures.
    #[default]
    Three,
    /// Four or more.
    Four,
    /// All five.
    Five,
}

impl Layout {
    /// All of them.
    pub const ALL: [Layout; 9] = [
        Layout::EmoSet,
        Layout::Fi,
        Layout::EmotionRoi,
        Layout::Emotion6,
        Layout::TwitterI,
        Layout::ArtPhoto,
        Layout::Abstract,
        Layout::Folders,
        Layout::Csv,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Layout::EmoSet => "emoset",
            Layout::Fi => "fi",
            Layout::EmotionRoi => "emotionroi",
            Layout::Emotion6 => "emotion6",
            Layout::TwitterI => "twitter1",
            Layout::ArtPhoto => "artphoto",
            Layout::Abstract => "abstract",
            Layout::Folders => "folders",
            Layout::Csv => "csv",
        }
    }

    /// The layout of what lies at `path`. Whatever has no file of a known name is a folder per class.
    ///
    /// # Errors
    /// [`Error::Io`] where nothing is there.
    pub fn detect(path: impl AsRef<Path>) -> Result<Layout> {
        let path = path.as_ref();
        if std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_file() {
            return Ok(Layout::Csv);
        }
        let has = |name: &str| path.join(name).exists();
        Ok(match () {
            () if has(emoset::TRAIN) => Layout::EmoSet,
            () if has(emotionroi::SPLIT) => Layout::EmotionRoi,
            () if has(emotion6::TRUTH) => Layout::Emotion6,
            () if twitter::any_list(path) => Layout::TwitterI,
            () if has(abstracts::VOTES) => Layout::Abstract,
            () if has(artphoto::PICTURES) => Layout::ArtPhoto,
            () if folders::is_fi(path)? => Layout::Fi,
            () => Layout::Folders,
        })
    }

    /// Reads what the files of this layout say.
    pub(super) fn list(self, listing: &mut Listing, options: &OpenOptions) -> Result<()> {
        match self {
            Layout::EmoSet => emoset::list(listing),
            Layout::Fi | Layout::Folders => folders::list(listing),
            Layout::EmotionRoi => emotionroi::list(listing),
            Layout::Emotion6 => emotion6::list(listing),
            Layout::TwitterI => twitter::list(listing, options.agreement),
            Layout::ArtPhoto => artphoto::list(listing),
            Layout::Abstract => abstracts::list(listing),
            Layout::Csv => csv::list(listing),
        }
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = || Layout::ALL.map(Layout::name).join(", ");
        Layout::ALL.into_iter().find(|layout| layout.name() == name).ok_or_else(|| Error::Argument {
            name: "layout",
            expected: format!("one of {}", known()),
            got: name.to_owned(),
        })
    }
}
