/// How the samples of an epoch are dealt out. In every round each worker computes with one batch; so many rounds make a step of the
/// optimizer. Every sample comes once, whatever the numbers are.
public struct BatchPlan: Sendable, Equatable {
  /// Of the epoch.
  public var samples: Int
  /// Most samples of one worker in one round.
  public var batchSize: Int
  /// Which worker this is, from 0.
  public var rank = 0
  public var workers = 1
  public var roundsPerStep = 1
  /// How many samples of the epoch earlier steps had, perhaps with other numbers.
  public var skipped = 0

  public init(samples: Int, batchSize: Int) {
    self.samples = samples
    self.batchSize = batchSize
  }

  public var samplesPerStep: Int { batchSize * workers * roundsPerStep }

  /// Steps of a whole epoch.
  public var stepCount: Int { (samples + samplesPerStep - 1) / samplesPerStep }

  /// Rounds that are left.
  public var roundCount: Int { max(0, samples - skipped + batchSize * workers - 1) / (batchSize * workers) }

  /// The samples of all workers in a round that is left; the last one has the rest.
  public func samples(inRound round: Int) -> Range<Int> {
    let first = skipped + round * batchSize * workers
    return first..<min(first + batchSize * workers, samples)
  }

  /// This worker's batch of a round: a part of the round's samples as large as the others' or one smaller. A single sample is dealt out only where there is no other
  /// way, as norms may need more. A worker that none are left for computes with the first ones, which `counts` tells not to count.
  public func batch(inRound round: Int) -> (samples: Range<Int>, counts: Bool) {
    let all = samples(inRound: round)
    let pairs = all.count / 2
    let isForPairs = pairs > 0 && pairs < workers && all.count <= pairs * batchSize
    let takers = isForPairs ? pairs : workers
    let (size, rest) = all.count.quotientAndRemainder(dividingBy: takers)
    let first = all.lowerBound + rank * size + min(rank, rest)
    let count = rank < takers ? size + (rank < rest ? 1 : 0) : 0
    return count > 0 ? (first..<first + count, true) : (all.prefix(batchSize), false)
  }

  /// Throws `DataError` for numbers that cannot be.
  func validate() throws {
    try checkPositive(
      ("batch size", batchSize), ("samples per epoch", samples), ("workers", workers),
      ("rounds per step", roundsPerStep))
    guard (0..<workers).contains(rank), (0...samples).contains(skipped) else {
      throw DataError(
        .parameter,
        "Expected a rank below \(workers) and at most \(samples) samples to skip, received \(rank) and \(skipped).")
    }
  }
}
