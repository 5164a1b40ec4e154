import NormaRecords

/// The epochs of one training as comma-separated values, with the columns that Keras's logger made usual.
public enum HistoryCSV {
  /// Columns are epoch, scores, loss, scores and loss of validation, seconds.
  public static func text(_ history: [EpochRecord]) -> String {
    let scores = ScoreName.allCases.filter { score in history.contains { $0.scores[score.rawValue] != nil } }
    let names = scores.map { $0 == .accuracy ? "acc" : $0.rawValue } + ["loss"]
    let header = (["epoch"] + names + names.map { "val_\($0)" } + ["seconds"]).joined(separator: ",")
    let rows = history.map { epoch in
      let values =
        scores.map { epoch.scores[$0.rawValue] } + [epoch.loss]
        + scores.map { epoch.validationScores[$0.rawValue] } + [epoch.validationLoss, epoch.seconds]
      return "\(epoch.epoch)," + values.map { $0.map { "\($0)" } ?? "" }.joined(separator: ",")
    }
    return ([header] + rows).joined(separator: "\n") + "\n"
  }
}
