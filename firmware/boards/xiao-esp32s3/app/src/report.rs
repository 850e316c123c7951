//! One JSON object a line for everything that happens.

use core::fmt::{self, Display, Write};

use detector::Answer;

/// What happened in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Happening<'o, C, M> {
    /// A frame was captured and classified.
    Frame {
        /// Which one, counted from 0; frames that were not classified have no number.
        index: u32,
        /// The network's output bytes.
        output: &'o [u8],
        /// Time from the captured frame to the output, microseconds.
        inference_us: u64,
    },
    /// The camera was set up; the next frames let its exposure settle.
    CameraReady,
    /// A frame was captured while the exposure settles, and is not looked at.
    Settling,
    /// The camera could not be set up; nothing is tried before the wait is over.
    CameraLost {
        /// Why.
        error: C,
        /// How long until the next try, milliseconds.
        retry_in_ms: u64,
    },
    /// No frame.
    NoFrame {
        /// Why.
        error: C,
    },
    /// The camera gave the very same frame again: it stands still, and the frame is not looked at.
    SameFrame,
    /// The network gave no output.
    NoOutput {
        /// Why.
        error: M,
    },
    /// Nothing to do until the camera is tried again.
    Waiting,
}

/// What happened, when, and what the detector's answer is after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report<'o, C, M> {
    /// Time since start, milliseconds.
    pub at_ms: u64,
    /// What happened.
    pub happening: Happening<'o, C, M>,
    /// The detector's answer; `None` where the firmware has no thresholds.
    pub answer: Option<Answer>,
}

impl<C, M> Report<'_, C, M> {
    /// Whether a person is there, by an answer that is not stale.
    pub fn person(&self) -> bool {
        self.answer.is_some_and(|answer| answer.person && !answer.stale)
    }

    /// Whether it is worth a line: everything is but waiting and settling.
    pub fn speaks(&self) -> bool {
        !matches!(self.happening, Happening::Waiting | Happening::Settling)
    }
}

impl<C: Display, M: Display> Display for Report<'_, C, M> {
    /// A JSON object without a line end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = match self.happening {
            Happening::Frame { .. } => "frame",
            Happening::CameraReady | Happening::Settling => "camera",
            Happening::Waiting => "waiting",
            _ => "error",
        };
        write!(f, "{{\"event\":\"{event}\",\"ms\":{}", self.at_ms)?;
        match &self.happening {
            Happening::Frame { index, output, inference_us } => {
                write!(f, ",\"index\":{index},\"output\":[")?;
                for (i, byte) in output.iter().enumerate() {
                    write!(f, "{}{byte}", if i == 0 { "" } else { "," })?;
                }
                write!(f, "],\"inference_us\":{inference_us}")?;
            }
            Happening::CameraReady => f.write_str(",\"state\":\"ready\"")?,
            Happening::Settling => f.write_str(",\"state\":\"settling\"")?,
            Happening::CameraLost { error, retry_in_ms } => {
                write!(f, ",\"message\":{},\"retry_in_ms\":{retry_in_ms}", Quoted(Of("camera", error)))?;
            }
            Happening::NoFrame { error } => write!(f, ",\"message\":{}", Quoted(Of("capture", error)))?,
            Happening::SameFrame => {
                write!(f, ",\"message\":{}", Quoted("capture: the same frame again, so the camera stands still"))?;
            }
            Happening::NoOutput { error } => write!(f, ",\"message\":{}", Quoted(Of("network", error)))?,
            Happening::Waiting => {}
        }
        if let Some(answer) = &self.answer {
            match answer.age_ms {
                Some(age_ms) => {
                    let verdict = if answer.person { "person" } else { "no_person" };
                    write!(f, ",\"score\":{},\"verdict\":\"{verdict}\",\"age_ms\":{age_ms}", answer.score)?;
                }
                None => f.write_str(",\"score\":null,\"verdict\":null,\"age_ms\":null")?,
            }
            write!(f, ",\"stale\":{}", answer.stale)?;
        }
        f.write_char('}')
    }
}

/// Where an error comes from, and the error.
struct Of<'e, E>(&'static str, &'e E);

impl<E: Display> Display for Of<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}

/// Text as a JSON string; control characters become spaces.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<T>(pub T);

impl<T: Display> Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaped<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escaped<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|c| match c {
                    '"' | '\\' => write!(self.0, "\\{c}"),
                    c if c.is_control() => self.0.write_char(' '),
                    c => self.0.write_char(c),
                })
            }
        }
        f.write_char('"')?;
        write!(Escaped(f), "{}", self.0)?;
        f.write_char('"')
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    type Any<'o> = Report<'o, &'static str, &'static str>;

    fn json(report: &Any<'_>) -> serde_json::Value {
        let line = report.to_string();
        assert!(!line.contains('\n'), "{line}");
        serde_json::from_str(&line).expect("a JSON object")
    }

    #[test]
    fn a_frame_is_one_line_of_json() {
        let answer = Some(Answer { person: true, score: 71, stale: false, age_ms: Some(0) });
        let happening = Happening::Frame { index: 7, output: &[185, 71], inference_us: 412_345 };
        let report: Any<'_> = Report { at_ms: 5_123, happening, answer };
        assert_eq!(
            report.to_string(),
            "{\"event\":\"frame\",\"ms\":5123,\"index\":7,\"output\":[185,71],\"inference_us\":412345,\"score\":71,\
             \"verdict\":\"person\",\"age_ms\":0,\"stale\":false}"
        );
        json(&report);
        assert!(report.person() && report.speaks());
    }

    #[test]
    fn without_thresholds_a_frame_has_no_verdict() {
        let happening = Happening::Frame { index: 0, output: &[3], inference_us: 1 };
        let value = json(&Report { at_ms: 1, happening, answer: None });
        assert!(value.get("verdict").is_none() && value.get("stale").is_none());
        assert_eq!(value["output"], serde_json::json!([3]));
    }

    #[test]
    fn before_the_first_frame_there_is_no_verdict_and_the_answer_is_stale() {
        let answer = Some(Answer { person: false, score: 0, stale: true, age_ms: None });
        let report: Any<'_> = Report { at_ms: 1, happening: Happening::CameraReady, answer };
        let value = json(&report);
        assert_eq!((&value["verdict"], &value["stale"]), (&serde_json::Value::Null, &true.into()));
        assert!(!report.person());
    }

    #[test]
    fn a_stale_person_is_nobody_to_act_on() {
        let answer = Some(Answer { person: true, score: 90, stale: true, age_ms: Some(9_000) });
        let report: Any<'_> = Report { at_ms: 9_999, happening: Happening::Waiting, answer };
        assert!(!report.person() && !report.speaks());
        assert_eq!(json(&report)["verdict"], "person");
    }

    #[test]
    fn any_error_text_is_valid_json() {
        let report: Any<'_> =
            Report { at_ms: 2, happening: Happening::NoOutput { error: "it said \"no\\way\"\r\n\u{1}" }, answer: None };
        assert_eq!(json(&report)["message"], "network: it said \"no\\way\"   ");
    }
}
