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
    let all = try group.gather(own).map { $0.makeIterator() }
    var iterators = all
    return try (0..<index).map { index in
      guard let row = iterators[index % group.size].next() else {
        throw WorkerError(
          "rank \(index % group.size) evaluated fewer batches than it should: do all ranks have the same data?")
      }
      return row
    }
  }
}

extension ProcessGroup {
  /// Rows of numbers from every process, by rank.
  fileprivate func gather(_ rows: [[Double]]) throws -> [[[Double]]] {
    let numbers = rows.flatMap { [Double($0.count)] + $0 }
    return try gather(numbers.flatMap { number in withUnsafeBytes(of: number.bitPattern.littleEndian, Array.init) })
      .map { bytes in
        let numbers = stride(from: 0, to: bytes.count, by: 8).map { start in
          Double(bitPattern: bytes[start..<start + 8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        }
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

/// What the processes of a group tell each other in every round, on the way while the backward pass runs: losses and scores, which become those of
/// all their samples together; whether to stop or to write a checkpoint; and statistics that every process took by itself, which become their mean
/// weighted by the samples, as if the processes were ghost batches of one.
struct RoundMessage {
  private let names: [ScoreName]
  private let buffers: [Tensor]
  private let numbers: Tensor
  private let pending: ProcessGroup.Pending

  /// What all have told.
  struct Answer {
    /// Sums over the samples.
    var loss: Double
    var scores: [ScoreName: Double]
    var stops: Bool
    var writes: Bool
  }

  /// - Parameters:
  ///   - count: samples of this process that count.
  ///   - loss: their mean, as the scores.
  init(
    _ group: ProcessGroup, count: Int, loss: Double, scores: [ScoreName: Double], stops: Bool, writes: Bool,
    buffers: [Tensor]
  ) throws {
    names = scores.keys.sorted { $0.rawValue < $1.rawValue }
    self.buffers = buffers
    let weight = Double(count)
    var told = [weight, stops ? 1 : 0, writes ? 1 : 0, weight == 0 ? 0 : loss * weight]
    for name in names { told.append(weight == 0 ? 0 : scores[name, default: 0] * weight) }
    let own = told
    numbers = try withoutGradients {
      let head = try Tensor(own)
      if buffers.isEmpty { return head }
      let device = buffers[0].device
      let parts = try buffers.map { try $0.detached().reshaped([-1]).to(dtype: .float64) }
      return try Tensor.concatenate([head.to(device: device)] + parts.map { try $0 * weight }, dimension: 0)
        .to(device: .cpu)
    }
    pending = try group.beginSum(numbers, on: .control)
  }

  /// Waits for the others, and gives the statistics their means.
  func wait() throws -> Answer {
    try pending.wait()
    let told: [Double] = try numbers.sliced(0..<4 + names.count).array()
    if !buffers.isEmpty {
      try withoutGradients {
        var start = 4 + names.count
        let means = try numbers / told[0]
        for buffer in buffers {
          let mean = try means.sliced(start..<start + buffer.count).reshaped(buffer.shape)
          try buffer.copy(from: mean.to(dtype: buffer.dtype))
          start += buffer.count
        }
      }
    }
    return Answer(
      loss: told[3],
      scores: [ScoreName: Double](uniqueKeysWithValues: zip(names, told.dropFirst(4)).map { ($0, $1) }),
      stops: told[1] > 0, writes: told[2] > 0)
  }
}
