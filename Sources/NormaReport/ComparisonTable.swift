import NormaRecords

/// The table that a comparison ends with.
public enum ComparisonTable {
  public static func text(_ record: ComparisonRecord) -> String {
    let isGrid = Set(record.runs.map(\.norm)).count < record.runs.count
    return ([isGrid ? ofGrid(record) : ofSingleRuns(record)] + remarks(record)).joined(separator: "\n")
  }

  /// One run per norm, with what it went through.
  private static func ofSingleRuns(_ record: ComparisonRecord) -> String {
    let batch = record.runs.first { $0.norm == "batch" }?.medianStepMilliseconds
    let measured = record.epochScores
    let hasTest = record.data.testSamples > 0
    let header =
      ["norm", "parameters", "time", "ms/step", "× batch", "data wait", "best val loss (epoch)"]
      + measured.map { "last val \($0.shortTitle)" } + (hasTest ? ["test \(record.score.title)"] : [])
      + ["peak tensors", "peak process"]
    let rows = record.runs.map { run -> [String] in
      let step = run.medianStepMilliseconds
      let ratio = step.flatMap { step in batch.map { step / $0 } }
      let best = run.bestEpoch.map { "\(fixed($0.validationLoss, 4)) (\($0.epoch))" } ?? "–"
      return [
        run.norm, grouped(run.totalParameters), clock(run.trainingSeconds), fixed(step, 1), fixed(ratio, 2),
        run.dataWaitShare.map { "\(fixed(100 * $0, 1)) %" } ?? "–", best,
      ] + measured.map { fixed(run.history.last?.validationScores[$0.rawValue], 4) }
        + (hasTest ? [fixed(run.scores[record.score.rawValue], 4)] : [])
        + [bytes(run.peakTensorBytes), bytes(run.peakProcessBytes)]
    }
    return textTable(header: header, rows: rows)
  }

  /// Several runs per norm, batch size by batch size: means and half-widths of their 95 % intervals.
  private static func ofGrid(_ record: ComparisonRecord) -> String {
    let known = record.chiefScores.filter { score in record.runs.contains { $0.scores[score.rawValue] != nil } }
    return record.analysis.map { analysis in
      let batch = analysis.contenders.first { $0.norm == "batch" }?.stepMilliseconds?.mean
      let rows = analysis.contenders.map { norm -> [String] in
        [norm.norm, "\(norm.learningRate)", "\(norm.seeds.count - norm.failures)/\(norm.seeds.count)"]
          + known.map { spread(norm.scores[$0.rawValue], 4) }
          + [
            spread(norm.validationLoss, 4), spread(norm.stepMilliseconds, 1),
            fixed(norm.stepMilliseconds.flatMap { step in batch.map { step.mean / $0 } }, 2),
            spread(norm.epochsToTarget, 1) + (norm.epochsToTarget.map { " (\($0.count))" } ?? ""),
            bytes(norm.peakTensorBytes),
          ]
      }
      let header =
        ["norm", "rate", "runs"] + known.map(\.title)
        + [
          "val loss", "ms/step", "× batch", "epochs to \(fixed(analysis.targetLoss, 4)) (runs)", "peak tensors",
        ]
      return "Batch size \(analysis.batchSize)\n\n" + textTable(header: header, rows: rows) + "\n\n"
        + wrapped(analysis.verdict, 98).joined(separator: "\n")
    }.joined(separator: "\n\n")
  }

  private static func spread(_ spread: SpreadRecord?, _ digits: Int) -> String {
    guard let spread else { return "–" }
    return fixed(spread.mean, digits) + (spread.halfWidth.map { " ± \(fixed($0, digits))" } ?? "")
  }

  /// What makes scores of a run too good; nil where nothing does.
  static func withoutTest(_ data: DataRecord) -> String? {
    data.testSamples > 0
      ? nil
      : "Scores are of the \(data.unit) that also chose the epochs: give --test-\(data.unit == "slices" ? "slices" : "share") for a fair comparison."
  }

  /// What a reader of the numbers has to know.
  static func remarks(_ record: ComparisonRecord) -> [String] {
    let data = record.data
    // Images with classes are drawn for each purpose.
    let last = data.unit == "images" ? "" : "the last "
    let held =
      data.testSamples > 0
      ? "\(data.validationSamples) to choose the epoch by, \(last)\(data.testSamples) for the scores"
      : "\(last)\(data.validationSamples) for validation"
    let constant = ScoreName.allCases.compactMap { score in
      data.constantScores[score.rawValue].map { "\(score.title) \(fixed($0, 4))" }
    }
    var lines = [
      "",
      "Data: \(data.name), \(data.trainingSamples) \(data.unit) for training, \(held)."
        + (constant.isEmpty
          ? ""
          : " \(record.baseline.prefix(1).uppercased())\(record.baseline.dropFirst()) scores \(constant.joined(separator: ", "))."),
    ]
    let isGrid = Set(record.runs.map(\.norm)).count < record.runs.count
    for run in record.runs {
      let name = isGrid ? run.fileStem : run.norm
      if let failure = run.failure { lines.append("\(name) failed: \(failure)") }
      let epochs = "\(run.history.count) of \(record.configuration["epochs"] ?? "all") epochs"
      if run.stoppedEarly == true {
        lines.append("\(name) ended after \(epochs), as the validation loss no longer became lower (--early-stopping).")
      }
      if !run.isFinished { lines.append("\(name) is unfinished: \(epochs).") }
      if let constant = run.collapsedToClass {
        lines.append("\(name) has collapsed: it predicts class \(constant) for \(data.everything) of the validation.")
      }
    }
    for run in record.runs where run.collapsedToClass == nil {
      guard let told = data.noBetterThanConstant(run) else { continue }
      lines.append("\(isGrid ? run.fileStem : run.norm) is no better than \(record.baseline): \(told).")
    }
    if record.runs.contains(where: { $0.collapsedToClass != nil }) {
      lines.append(
        record.configuration["head"] == "seed"
          ? "Collapsed: the ReLU in front of the last convolution can die and leave only its bias; try --head plain, another "
            + "--seed or a lower --learning-rate."
          : "Collapsed: try another --learning-rate\(data.unit == "slices" ? ", --class-weights balanced" : ""), or more epochs."
      )
    }
    if !record.isOfOneEnvironment {
      lines.append(
        "The trainings come from different machines or versions, or had different numbers of threads: their times and memory "
          + "cannot be compared, and equal seeds need not give equal numbers.")
    }
    if isGrid {
      lines.append(
        "± is half the 95 % t interval of the mean over seeds. Every pair of norms is compared seed by seed; p is Holm-corrected "
          + "over the pairs of a batch size.")
      if let remark = withoutTest(data) { lines.append(remark) }
    } else if record.runs.count > 1 {
      lines.append(
        "One run per norm: differences of this size also occur between seeds, so this ranks nothing for certain.")
    }
    return lines
  }
}

extension ComparisonRecord {
  /// What is measured in every epoch beside the loss.
  var epochScores: [ScoreName] {
    ScoreName.allCases.filter { score in
      runs.contains { $0.history.contains { $0.validationScores[score.rawValue] != nil } }
    }
  }

  /// The scores that stand in the first tables: that of the verdict, then the usual ones.
  var chiefScores: [ScoreName] { unique([score, .iou, .accuracy, .rand, .f1, .mae, .content, .style]) }
}

extension ScoreName {
  /// For the heads of narrow columns and lines of progress.
  public var shortTitle: String { self == .accuracy ? "acc" : title }
}

extension DataRecord {
  /// The scores of a run that a constant prediction reaches too, in words; nil where it beats that in one.
  func noBetterThanConstant(_ run: RunRecord) -> String? {
    let both = ScoreName.allCases.compactMap { score in
      run.scores[score.rawValue].flatMap { own in constantScores[score.rawValue].map { (score, own, $0) } }
    }
    guard !both.isEmpty, both.allSatisfy({ $0.0.isBetterWhenLower ? $0.1 >= $0.2 : $0.1 <= $0.2 }) else { return nil }
    return both.map { "\($0.0.title) \(fixed($0.1, 4)) against \(fixed($0.2, 4))" }.joined(separator: ", ")
  }

  /// What a prediction is made for.
  var everything: String { unit == "slices" ? "every pixel" : "all \(unit)" }
}
