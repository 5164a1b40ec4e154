#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import ArgumentParser
import NormaFormats
import NormaMetrics
import NormaReport

struct EvaluateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluate",
    abstract: "Score predictions as segmentations: V_Rand and V_Info of the ISBI 2012 challenge and others.",
    discussion: """
      A pixel is predicted to be foreground (cell) where its probability is larger than a threshold of 0, 0.1, … 1; \
      the table has every score at its best threshold, the same for all slices. The predictions-NORM.tif of norma \
      compare can be used as they are, with the held-out slices of the labels: --truth-slices 20-23.
      """)

  @Option(
    help: ArgumentHelp(
      "Label stack (TIFF, PNG or a folder of PNG files) with one value for the foreground and one for the background.",
      valueName: "path"), completion: .file())
  var truth: String

  @Option(
    help: ArgumentHelp(
      """
      Probabilities of the foreground as a stack of the same size: float in 0…1, or 8 or 16 bit, where 255 or 65535 \
      stands for 1.
      """,
      valueName: "path"), completion: .file())
  var prediction: String

  @Option(
    help: ArgumentHelp(
      "The slices of the label stack that were predicted, counted from 0, both included. (default: all)",
      valueName: "first-last"),
    transform: { try SliceRange(parsing: $0) })
  var truthSlices: SliceRange?

  @Option(
    help: ArgumentHelp("Label value of the foreground. (default: the higher of the two)", valueName: "value"))
  var foreground: Int?

  @Option(help: ArgumentHelp("Label value of pixels that do not count.", valueName: "value"))
  var ignoreLabel: Int?

  @Flag(help: "Also list V_Rand and V_Info slice by slice, each at the best threshold of the whole stack.")
  var slices = false

  @Flag(help: "Print the scores at all thresholds and for all slices as JSON instead of a table.")
  var json = false

  /// Slices by number, as "20-23" or "20".
  struct SliceRange {
    let range: ClosedRange<Int>

    init(parsing text: String) throws {
      let numbers = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
      guard (1...2).contains(numbers.count), let first = numbers[0], let last = numbers[numbers.count - 1],
        first >= 0, first <= last
      else {
        throw ValidationError("expected slices such as 20-23 or 20, counted from 0, the smaller number first")
      }
      range = first...last
    }

    var text: String { "\(range.lowerBound)-\(range.upperBound)" }
  }

  func validate() throws {
    if let foreground, foreground == ignoreLabel {
      throw ValidationError("--foreground and --ignore-label must be different values, both are \(foreground).")
    }
  }

  func run() throws {
    let labels = try readTruth()
    let probabilities = try readPrediction()
    let shown = truthSlices?.range ?? 0...labels.stack.pages - 1
    try checkSizes(labels.stack, probabilities.stack, shown)

    var scores = SegmentationScores()
    let count = labels.stack.valuesPerPage
    for (page, slice) in shown.enumerated() {
      let values = labels.stack.values[slice * count..<(slice + 1) * count]
      let ignored = ignoreLabel.map { ignore in values.map { $0 == Float(ignore) } }
      if let ignored, !ignored.contains(false) {
        throw ToolError(
          "slice \(slice) of '\(truth)' has the value \(ignoreLabel ?? 0) of --ignore-label everywhere, so nothing of it "
            + "can be scored; leave it out by --truth-slices")
      }
      scores.add(
        truth: values.map { $0 == labels.foreground ? 1 : 0 },
        probabilities: Array(probabilities.values[page * count..<(page + 1) * count]),
        height: labels.stack.height, width: labels.stack.width, ignored: ignored)
    }
    let report = EvaluationReport(
      scores, truth: truth, prediction: prediction, foreground: Int(labels.foreground), firstSlice: shown.lowerBound)
    print(json ? try report.json() : report.table(slices: slices))
  }

  /// The label stack and the value of its foreground.
  private func readTruth() throws -> (stack: ImageStack, foreground: Float) {
    let stack = try ImageFile.read(truth)
    guard stack.channels == 1 else {
      throw ToolError(
        "expected labels with one channel, '\(truth)' has \(stack.channels); store one label value per pixel")
    }
    if let last = truthSlices?.range.upperBound, last >= stack.pages {
      throw ToolError(
        "--truth-slices \(truthSlices?.text ?? "") asks for slice \(last), but '\(truth)' has the slices "
          + "0-\(stack.pages - 1); choose among these")
    }
    var found: [Float] = []
    // Labels come in long runs of one value.
    var previous = Float.nan
    for value in stack.values where value != previous {
      guard value.rounded() == value, abs(value) <= 0x1p31 else {
        throw ToolError(
          "expected whole numbers as labels, '\(truth)' has \(value); check that --truth and --prediction are not exchanged"
        )
      }
      previous = value
      if value == ignoreLabel.map(Float.init) || found.contains(value) { continue }
      found.append(value)
      guard found.count <= 2 else {
        throw ToolError(
          "expected labels of two values, foreground and background, '\(truth)' has "
            + "\(list(found)) and perhaps more; name a value that does not count by --ignore-label, or map the labels to "
            + "two values")
      }
    }
    found.sort()
    if let foreground {
      // With one value only, the other may be the foreground.
      guard found.contains(Float(foreground)) || found.count < 2 else {
        throw ToolError(
          "--foreground is \(foreground), but the labels in '\(truth)' are \(list(found)); give one of these")
      }
      return (stack, Float(foreground))
    }
    guard found.count == 2 else {
      throw ToolError(
        "expected labels of two values, foreground and background, '\(truth)' has "
          + (found.isEmpty ? "none that counts" : "only \(list(found))")
          + "; say by --foreground which value the foreground has")
    }
    return (stack, found[1])
  }

  /// The prediction and its values scaled to 0…1.
  private func readPrediction() throws -> (stack: ImageStack, values: [Float]) {
    let stack = try ImageFile.read(prediction)
    guard stack.channels == 1 else {
      throw ToolError(
        "expected predictions with one channel, the probability of the foreground, '\(prediction)' has "
          + "\(stack.channels); save the foreground's channel alone")
    }
    switch stack.format {
    case .uint8, .uint16:
      let largest: Float = stack.format == .uint8 ? 255 : 65535
      // 0 and 1 as integers are classes: as probabilities they would all be next to 0.
      if stack.values.max() == 1 {
        throw ToolError(
          "expected \(stack.format.rawValue) predictions in 0…\(Int(largest)), where \(Int(largest)) stands for 1, "
            + "'\(prediction)' has no larger value than 1; save it as float, or multiply it by \(Int(largest))")
      }
      return (stack, stack.values.map { $0 / largest })
    case .float32, .float64:
      if let stranger = stack.values.firstIndex(where: { !($0 >= 0 && $0 <= 1) }) {
        throw ToolError(
          "expected probabilities in 0…1, '\(prediction)' has \(stack.values[stranger]) on slice "
            + "\(stranger / stack.valuesPerPage) (counted from 0); apply the sigmoid to logits, and divide grey values by "
            + "the largest one")
      }
      return (stack, stack.values)
    case .int8, .int16, .int32, .uint32:
      throw ToolError(
        "expected predictions as float in 0…1 or as uint8 or uint16, '\(prediction)' has \(stack.format.rawValue); save it "
          + "as one of these")
    }
  }

  private func checkSizes(_ labels: ImageStack, _ probabilities: ImageStack, _ shown: ClosedRange<Int>) throws {
    guard labels.width == probabilities.width, labels.height == probabilities.height else {
      throw ToolError(
        "expected slices of one size, '\(truth)' has \(labels.width)×\(labels.height) pixels and '\(prediction)' "
          + "\(probabilities.width)×\(probabilities.height); give the labels of the predicted slices in the size of the "
          + "prediction")
    }
    guard shown.count == probabilities.pages else {
      let chosen = truthSlices.map { "--truth-slices \($0.text) chooses" } ?? "'\(truth)' has"
      // norma compare predicts the last slices.
      let example =
        probabilities.pages <= labels.pages
        ? "such as --truth-slices \(labels.pages - probabilities.pages)-\(labels.pages - 1) for the last ones"
        : "'\(truth)' has \(labels.pages) in all"
      throw ToolError(
        "expected a slice of labels for each predicted slice, \(chosen) \(shown.count) and '\(prediction)' has "
          + "\(probabilities.pages); name the predicted slices by --truth-slices, \(example)")
    }
  }

  private func list(_ values: [Float]) -> String {
    values.map { "\(Int($0))" }.joined(separator: ", ")
  }
}

/// What `norma evaluate` prints.
struct EvaluationReport {
  private let record: EvaluationRecord

  init(_ scores: SegmentationScores, truth: String, prediction: String, foreground: Int, firstSlice: Int) {
    let results = SegmentationScore.allCases.map { score in
      let best = scores.best(score)
      func parts(
        _ split: (RegionOverlap) -> Double, _ merge: (RegionOverlap) -> Double
      ) -> EvaluationRecord.Parts {
        .init(
          split: scores.mean(at: best.index) { split($0.thinnedOverlap) },
          merge: scores.mean(at: best.index) { merge($0.thinnedOverlap) })
      }
      var atBest: EvaluationRecord.Parts?
      if score == .rand { atBest = parts(\.randSplit, \.randMerge) }
      if score == .info { atBest = parts(\.infoSplit, \.infoMerge) }
      return EvaluationRecord.Score(
        name: score.rawValue, lowerIsBetter: score.isError, best: best.value,
        bestThreshold: Self.decimal(best.threshold), curve: scores.curve(score),
        slicesAtBest: scores.entries.map { $0[best.index][score] }, partsAtBest: atBest)
    }
    record = EvaluationRecord(
      truth: truth, prediction: prediction, foreground: foreground,
      slices: Array(firstSlice..<firstSlice + scores.entries.count),
      thresholds: scores.thresholds.map(Self.decimal), scores: results)
  }

  /// 0.1 as a Float is not 0.1 as a Double.
  private static func decimal(_ value: Float) -> Double { Double("\(value)") ?? Double(value) }

  func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(record), as: UTF8.self)
  }

  func table(slices: Bool) -> String {
    let half = record.thresholds.firstIndex(of: 0.5) ?? 0
    let rows = record.scores.map { score in
      [
        label(score), fixed(score.best, 4), fixed(score.bestThreshold, 1), fixed(score.curve[half], 4),
        fixed(score.partsAtBest?.split, 4), fixed(score.partsAtBest?.merge, 4),
      ]
    }
    var text = textTable(header: ["score", "best", "threshold", "at 0.5", "split", "merge"], rows: rows)
    let count = record.slices.count
    let range = count == 1 ? "slice \(record.slices[0])" : "slices \(record.slices[0])-\(record.slices[count - 1])"
    text += """


      Foreground: label \(record.foreground) of \(record.truth), \(range). V_Rand, V_Info, Rand and warping error: means over \
      slices, the first two after border thinning. Split and merge: the parts of a score that splits and merges lower.
      """
    guard slices else { return text }
    let shown = record.scores.filter { $0.partsAtBest != nil }
    let perSlice = record.slices.indices.map { index in
      ["\(record.slices[index])"] + shown.map { fixed($0.slicesAtBest[index], 4) }
    }
    return text + "\n\n"
      + textTable(
        header: ["slice"] + shown.map { "\(label($0)) at \(fixed($0.bestThreshold, 1))" }, rows: perSlice)
  }

  private func label(_ score: EvaluationRecord.Score) -> String {
    switch SegmentationScore(rawValue: score.name) {
    case .rand: "V_Rand"
    case .info: "V_Info"
    case .randError: "Rand error"
    case .warpingError: "warping error"
    case .pixelError: "pixel error"
    case .accuracy: "accuracy"
    case .dice: "foreground Dice (F1)"
    case .intersectionOverUnion: "foreground IoU"
    case nil: score.name
    }
  }
}

/// What `norma evaluate --json` prints.
struct EvaluationRecord: Encodable {
  struct Parts: Encodable {
    let split: Double
    let merge: Double
  }

  struct Score: Encodable {
    let name: String
    let lowerIsBetter: Bool
    let best: Double
    let bestThreshold: Double
    /// One value per threshold.
    let curve: [Double]
    /// One value per slice at the best threshold.
    let slicesAtBest: [Double]
    /// V_Rand's and V_Info's, means over slices.
    let partsAtBest: Parts?
  }

  let schemaVersion = 1
  let truth: String
  let prediction: String
  /// The label value of the foreground.
  let foreground: Int
  /// Slices of the label stack, counted from 0.
  let slices: [Int]
  let thresholds: [Double]
  let scores: [Score]
}
