import NormaData
import NormaDistributed
import NormaNN
import NormaNormalization
import NormaRecords
import NormaTensor

extension BatchLoader {
  /// What the batches give, in their order.
  /// - Parameter isShared: whether processes that train together take them in turns; all have all results then, as one process would.
  package func results(isShared: Bool, _ body: (Batch) throws -> [Double]) throws -> [[Double]] {
    let group = isShared ? ProcessGroup.current : nil
    var own: [[Double]] = []
    var index = 0
    while let batch = try next() {
      if group.map({ index % $0.size == $0.rank }) ?? true { own.append(try body(batch)) }
      index += 1
    }
    guard let group else { return own }
    var iterators = try group.gather(own).map { $0.makeIterator() }
    return try (0..<index).map { index in
      guard let row = iterators[index % group.size].next() else {
        throw TrainingError(
          "rank \(index % group.size) evaluated fewer batches than it should: do all ranks have the same data?")
      }
      return row
    }
  }
}

extension ProcessGroup {
  /// Rows of numbers from every process, by rank.
  fileprivate func gather(_ rows: [[Double]]) throws -> [[[Double]]] {
    try gather(rows.flatMap { [Double($0.count)] + $0 }).map { numbers in
      var rows: [[Double]] = []
      var start = 0
      while start < numbers.count {
        let end = start + 1 + Int(numbers[start])
        rows.append(Array(numbers[start + 1..<end]))
        start = end
      }
      return rows
    }
  }
}

/// What the processes of a group tell each other in every round: losses and scores, which become those of all their samples together; whether to stop
/// or to write a checkpoint; and statistics that every process took by itself, which become their mean weighted by the samples, as if the
/// processes were ghost batches of one.
struct RoundReport {
  /// Sums over the samples of all.
  private(set) var loss: Double
  private(set) var scores: [ScoreName: Double]
  private(set) var stops: Bool
  private(set) var writes: Bool

  /// - Parameters:
  ///   - count: samples of this process that count.
  ///   - loss: their mean, as the scores.
  ///   - statistics: [C] each.
  init(
    _ group: ProcessGroup, count: Int, loss: Double, scores: [ScoreName: Double], stops: Bool, writes: Bool,
    statistics: [Tensor]
  ) throws {
    let names = scores.keys.sorted { $0.rawValue < $1.rawValue }
    let weight = Double(count)
    var numbers = [weight, stops ? 1 : 0, writes ? 1 : 0]
    // What does not count may be no number at all.
    numbers += ([loss] + names.map { scores[$0, default: 0] }).map { count == 0 ? 0 : $0 * weight }
    for tensor in statistics { numbers += try tensor.array(of: Double.self).map { count == 0 ? 0 : $0 * weight } }
    numbers = try group.sum(numbers)
    var rest = numbers.dropFirst(4)
    self.loss = numbers[3]
    self.scores = [ScoreName: Double](uniqueKeysWithValues: zip(names, rest.prefix(names.count)).map { ($0, $1) })
    (self.stops, self.writes) = (numbers[1] > 0, numbers[2] > 0)
    rest = rest.dropFirst(names.count)
    for tensor in statistics {
      let mean = try Tensor(rest.prefix(tensor.count).map { $0 / numbers[0] }).to(dtype: tensor.dtype)
      try withoutGradients { try tensor.copy(from: mean) }
      rest = rest.dropFirst(tensor.count)
    }
  }
}
