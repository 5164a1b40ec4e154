/// Counts of (true class, predicted class) over pixels or images, and the scores that follow from them.
public struct ConfusionMatrix: Sendable, Equatable {
  public let classes: Int
  /// counts[truth · classes + prediction].
  public private(set) var counts: [Int]

  public init(classes: Int) {
    precondition(classes > 0, "a confusion matrix needs at least one class")
    self.classes = classes
    counts = Array(repeating: 0, count: classes * classes)
  }

  /// Counts pixels or images. Those whose truth is not in 0..<classes (an ignore value) are left out.
  public mutating func add<Class: BinaryInteger>(truth: [Class], prediction: [Class]) {
    precondition(truth.count == prediction.count, "truth and prediction must be equally many")
    let known = 0..<classes
    counts.withUnsafeMutableBufferPointer { counts in
      for index in truth.indices {
        let (row, column) = (Int(truth[index]), Int(prediction[index]))
        if known.contains(row), known.contains(column) { counts[row * classes + column] += 1 }
      }
    }
  }

  /// Adds the counts of other pixels.
  public mutating func add(_ other: ConfusionMatrix) {
    precondition(other.classes == classes, "both confusion matrices must have \(classes) classes, got \(other.classes)")
    add(counts: other.counts)
  }

  /// Adds ``counts`` of other pixels.
  public mutating func add(counts others: [Int]) {
    precondition(others.count == counts.count, "\(counts.count) counts are needed, got \(others.count)")
    for index in counts.indices { counts[index] += others[index] }
  }

  public var total: Int { counts.reduce(0, +) }

  /// Share of pixels that were predicted right; NaN without pixels.
  public var accuracy: Double {
    let right = (0..<classes).reduce(0) { $0 + counts[$1 * classes + $1] }
    return Double(right) / Double(total)
  }

  private func truthCount(_ k: Int) -> Int { (0..<classes).reduce(0) { $0 + counts[k * classes + $1] } }
  private func predictedCount(_ k: Int) -> Int { (0..<classes).reduce(0) { $0 + counts[$1 * classes + k] } }

  /// Intersection over union of one class; 1 when it occurs neither in the truth nor in the prediction.
  public func intersectionOverUnion(_ k: Int) -> Double {
    let hit = counts[k * classes + k]
    let union = truthCount(k) + predictedCount(k) - hit
    return union == 0 ? 1 : Double(hit) / Double(union)
  }

  /// Dice coefficient (F1) of one class; 1 when it occurs neither in the truth nor in the prediction.
  public func dice(_ k: Int) -> Double {
    let sum = truthCount(k) + predictedCount(k)
    return sum == 0 ? 1 : 2 * Double(counts[k * classes + k]) / Double(sum)
  }

  /// The class that was predicted everywhere, or nil: such a prediction has collapsed unless the truth
  /// is constant too.
  public var constantPrediction: Int? {
    guard total > 0 else { return nil }
    let used = (0..<classes).filter { predictedCount($0) > 0 }
    return used.count == 1 ? used[0] : nil
  }

  /// The accuracy of the best constant prediction: the share of the most frequent true class.
  public var constantAccuracy: Double {
    Double((0..<classes).map(truthCount).max() ?? 0) / Double(total)
  }
}
