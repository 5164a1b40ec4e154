// What the runs of a comparison show together; Documentation/Results.md describes every field.

/// The runs of all norms at one batch size, compared.
public struct AnalysisRecord: Codable, Sendable, Equatable {
  public var batchSize: Int
  /// In the order of the command line.
  public var contenders: [ContenderRecord]
  /// Every pair of contenders without failures that have seeds in common.
  public var pairs: [PairRecord]
  /// The validation loss of ``ContenderRecord/epochsToTarget``.
  public var targetLoss: Double?
  /// The only norm that the evidence puts ahead of all others, or nil.
  public var winner: String?
  /// In words.
  public var verdict: String

  public init(
    batchSize: Int, contenders: [ContenderRecord], pairs: [PairRecord], targetLoss: Double?, winner: String?,
    verdict: String
  ) {
    self.batchSize = batchSize
    self.contenders = contenders
    self.pairs = pairs
    self.targetLoss = targetLoss
    self.winner = winner
    self.verdict = verdict
  }
}

/// Mean and spread over seeds.
public struct SpreadRecord: Codable, Sendable, Equatable {
  public var count: Int
  public var mean: Double
  /// With n − 1; nil for one run.
  public var deviation: Double?
  /// Half the width of the mean's 95 % t interval; nil for one run.
  public var halfWidth: Double?

  public init(count: Int, mean: Double, deviation: Double?, halfWidth: Double?) {
    self.count = count
    self.mean = mean
    self.deviation = deviation
    self.halfWidth = halfWidth
  }
}

/// One norm with the learning rate that was chosen for it.
public struct ContenderRecord: Codable, Sendable, Equatable {
  public var norm: String
  public var learningRate: Double
  /// Of the runs with this learning rate, in ascending order.
  public var seeds: [UInt64]
  public var failures: Int
  /// Over the seeds that did not fail, by ``ScoreName``.
  public var scores: [String: SpreadRecord]
  /// Lowest validation loss of every run.
  public var validationLoss: SpreadRecord?
  /// Median milliseconds per step of every run.
  public var stepMilliseconds: SpreadRecord?
  public var trainingSeconds: SpreadRecord?
  /// The greatest of the runs.
  public var peakTensorBytes: Int
  public var peakProcessBytes: Int?
  /// Epochs until the target loss was reached, in the runs that reached it; nil where none did.
  public var epochsToTarget: SpreadRecord?

  public init(
    norm: String, learningRate: Double, seeds: [UInt64], failures: Int, scores: [String: SpreadRecord],
    validationLoss: SpreadRecord?, stepMilliseconds: SpreadRecord?, trainingSeconds: SpreadRecord?,
    peakTensorBytes: Int, peakProcessBytes: Int?, epochsToTarget: SpreadRecord?
  ) {
    self.norm = norm
    self.learningRate = learningRate
    self.seeds = seeds
    self.failures = failures
    self.scores = scores
    self.validationLoss = validationLoss
    self.stepMilliseconds = stepMilliseconds
    self.trainingSeconds = trainingSeconds
    self.peakTensorBytes = peakTensorBytes
    self.peakProcessBytes = peakProcessBytes
    self.epochsToTarget = epochsToTarget
  }
}

/// Two norms seed by seed, in the score of the verdict.
public struct PairRecord: Codable, Sendable, Equatable {
  public var first: String
  public var second: String
  /// First minus second, over the seeds of both.
  public var difference: SpreadRecord
  /// Of the paired t-test; nil for one seed.
  public var pValue: Double?
  /// After Holm's correction over all pairs of this batch size.
  public var adjustedPValue: Double?

  public init(first: String, second: String, difference: SpreadRecord, pValue: Double?, adjustedPValue: Double?) {
    self.first = first
    self.second = second
    self.difference = difference
    self.pValue = pValue
    self.adjustedPValue = adjustedPValue
  }
}
