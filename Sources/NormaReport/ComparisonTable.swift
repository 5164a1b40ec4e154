import NormaRecords

/// The table that a comparison ends with.
public enum ComparisonTable {
  public static func text(_ record: ComparisonRecord) -> String {
    let batch = record.norms.first { $0.norm == "batch" }?.medianStepMilliseconds
    let header = [
      "norm", "parameters", "time", "ms/step", "× batch", "data wait", "best val loss (epoch)", "last val acc",
      "peak tensors",
      "peak process",
    ]
    let rows = record.norms.map { norm -> [String] in
      let step = norm.medianStepMilliseconds
      let ratio = step.flatMap { step in batch.map { step / $0 } }
      let best = norm.bestEpoch.map { "\(fixed($0.validationLoss, 4)) (\($0.epoch))" } ?? "–"
      return [
        norm.norm, grouped(norm.totalParameters), clock(norm.trainingSeconds), fixed(step, 1), fixed(ratio, 2),
        norm.dataWaitShare.map { "\(fixed(100 * $0, 1)) %" } ?? "–", best,
        fixed(norm.history.last?.validationAccuracy, 4), bytes(norm.peakTensorBytes),
        bytes(norm.peakProcessBytes),
      ]
    }
    return ([textTable(header: header, rows: rows)] + remarks(record)).joined(separator: "\n")
  }

  /// What a reader of the numbers has to know.
  static func remarks(_ record: ComparisonRecord) -> [String] {
    var lines = [
      "",
      "Data: \(record.data.name), \(record.data.trainingSlices) slices for training, the last "
        + "\(record.data.validationSlices) for validation. A constant prediction scores \(fixed(record.data.constantAccuracy, 4)).",
    ]
    for norm in record.norms {
      if let failure = norm.failure { lines.append("\(norm.norm) stopped early: \(failure)") }
      if let constant = norm.collapsedToClass {
        let remedy =
          record.configuration["head"] == "seed"
          ? "The ReLU in front of the last convolution can die and leave only its bias; try --head plain, another --seed or "
            + "a lower --learning-rate."
          : "Try another --learning-rate, --class-weights balanced, or more epochs."
        lines.append(
          "\(norm.norm) has collapsed: it predicts class \(constant) for every validation pixel. \(remedy)")
      }
    }
    if record.norms.count > 1 {
      lines.append(
        "One run per norm: differences of this size also occur between seeds, so this ranks nothing for certain.")
    }
    return lines
  }
}
