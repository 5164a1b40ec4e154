// What a comparison leaves behind, as it stands in results.json. Documentation/Results.md describes every
// field; the version changes when the meaning of one does.

/// One epoch of training.
public struct EpochRecord: Codable, Sendable, Equatable {
  /// From 1.
  public var epoch: Int
  /// Mean over the training samples of the epoch, as it was while training.
  public var loss: Double
  /// By ``ScoreName``, such as accuracy: means over the training samples of the epoch, as they were while training.
  public var scores: [String: Double]
  public var validationLoss: Double
  public var validationScores: [String: Double]
  /// One score per class, on the validation slices; empty where there are no masks.
  public var validationDice: [Double]
  public var validationIntersectionOverUnion: [Double]
  /// The learning rate of the last step.
  public var learningRate: Double
  /// Of training; validation is not in it.
  public var seconds: Double
  public var validationSeconds: Double
  /// Of `seconds`, how long training waited for data.
  public var dataWaitSeconds: Double

  public init(
    epoch: Int, loss: Double, scores: [String: Double], validationLoss: Double, validationScores: [String: Double],
    validationDice: [Double] = [], validationIntersectionOverUnion: [Double] = [], learningRate: Double,
    seconds: Double, validationSeconds: Double, dataWaitSeconds: Double
  ) {
    self.epoch = epoch
    self.loss = loss
    self.scores = scores
    self.validationLoss = validationLoss
    self.validationScores = validationScores
    self.validationDice = validationDice
    self.validationIntersectionOverUnion = validationIntersectionOverUnion
    self.learningRate = learningRate
    self.seconds = seconds
    self.validationSeconds = validationSeconds
    self.dataWaitSeconds = dataWaitSeconds
  }
}

/// The learned mixing shares of one switchable normalization.
public struct MixRecord: Codable, Sendable, Equatable {
  /// Key of the layer in the network.
  public var layer: String
  /// Names of what is mixed, such as instance, layer, batch.
  public var branches: [String]
  /// Shares of the branches.
  public var mean: [Double]
  public var variance: [Double]

  public init(layer: String, branches: [String], mean: [Double], variance: [Double]) {
    self.layer = layer
    self.branches = branches
    self.mean = mean
    self.variance = variance
  }
}

/// The training of one network: a normalization, batch size, learning rate and seed.
public struct RunRecord: Codable, Sendable, Equatable {
  public var cell: CellRecord
  /// What the names of the run's files have after `history-`, `weights-` and so on.
  public var fileStem: String
  /// Whether training came to its end, by the last epoch or by a failure.
  public var isFinished = false
  /// Parameters and running statistics.
  public var totalParameters: Int
  public var trainableParameters: Int
  public var history: [EpochRecord] = []
  /// Milliseconds of every training step, in order, without the wait for data.
  public var stepMilliseconds: [Double] = []
  /// Milliseconds that every step waited for its data.
  public var dataWaitMilliseconds: [Double] = []
  /// Largest number of bytes in live tensors during training and validation.
  public var peakTensorBytes = 0
  /// Peak resident memory of the process since this run began; nil where the system does not tell.
  public var peakProcessBytes: Int?
  /// Why training ended early, or nil.
  public var failure: String?
  /// True where training ended before its last epoch because the validation loss no longer became lower; else nil.
  public var stoppedEarly: Bool?
  /// The class that the final network predicts for every validation pixel, or nil when it has not collapsed.
  public var collapsedToClass: Int?
  /// The learned mixes of switchable normalization after every epoch; empty lists for others.
  public var mixes: [[MixRecord]] = []
  /// What was measured inside the network after every epoch; empty without `--diagnose`.
  public var diagnoses: [DiagnosisRecord] = []
  /// Scores of the network of the chosen epoch (``bestEpoch``) by ``ScoreName``, on the test slices or, without any, on the
  /// validation slices; empty before the end of training.
  public var scores: [String: Double] = [:]
  /// The machine and software that trained it last, where they are not ``ComparisonRecord/environment``; else nil.
  public var environment: EnvironmentRecord?
  /// The threshold on probabilities that the scores of regions were taken at; chosen on the validation slices.
  public var threshold: Double?

  public init(_ cell: CellRecord, fileStem: String, totalParameters: Int, trainableParameters: Int) {
    self.cell = cell
    self.fileStem = fileStem
    self.totalParameters = totalParameters
    self.trainableParameters = trainableParameters
  }

  public var norm: String { cell.norm }

  /// Whether it failed because the loss was no longer finite.
  public var hasDiverged: Bool { failure.map { $0.contains("NaN") || $0.contains("infinite") } ?? false }

  /// Whether there is nothing to train again: a training that diverged would do so again, other failures may be mended.
  public var isDone: Bool { isFinished && (failure == nil || hasDiverged) }

  public var trainingSeconds: Double { history.reduce(0) { $0 + $1.seconds } }

  /// The share of the training time that was spent waiting for samples, or nil without an epoch.
  public var dataWaitShare: Double? {
    trainingSeconds > 0 ? history.reduce(0) { $0 + $1.dataWaitSeconds } / trainingSeconds : nil
  }

  /// Median of the step times, or nil without steps.
  public var medianStepMilliseconds: Double? {
    let sorted = stepMilliseconds.sorted()
    guard !sorted.isEmpty else { return nil }
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }

  /// The epoch with the lowest validation loss, or nil.
  public var bestEpoch: EpochRecord? {
    history.filter { !$0.validationLoss.isNaN }.min { $0.validationLoss < $1.validationLoss }
  }
}

/// A place in the grid of trainings.
public struct CellRecord: Codable, Sendable, Hashable {
  /// Name as on the command line, and after a plus each the kind of network and the optimizer where several are compared:
  /// `batch+cbam`, `batch+sgd:0`.
  public var norm: String
  public var batchSize: Int
  public var learningRate: Double
  /// Runs of the same seed have the same initial weights but for the norm itself, samples, order and augmentation.
  public var seed: UInt64

  public init(norm: String, batchSize: Int, learningRate: Double, seed: UInt64) {
    self.norm = norm
    self.batchSize = batchSize
    self.learningRate = learningRate
    self.seed = seed
  }

  /// What is compared, by name: a norm, in a kind of network and with an optimizer where several are compared.
  /// - Parameter variants: these; "none" and empty ones are not told.
  public static func contender(_ norm: String, variants: [String]) -> String {
    ([norm] + variants.filter { !$0.isEmpty && $0 != "none" }).joined(separator: "+")
  }
}

/// What a run is scored by.
public enum ScoreName: String, Codable, Sendable, CaseIterable {
  /// The training loss, without penalties on weights; of segmentation on whole slices.
  case loss
  case accuracy
  /// Means over the classes: overlaps of masks, and the harmonic mean of precision and recall.
  case dice, iou, f1
  /// Mean absolute error.
  case mae
  /// The parts of the loss of style transfer.
  case content, style
  /// Of two classes, class 1 being the foreground: those of the ISBI 2012 challenge, V_Rand and V_Info after border thinning,
  /// Rand error and warping error.
  case rand, info
  case randError = "rand-error"
  case warpingError = "warping-error"

  public var isBetterWhenLower: Bool {
    switch self {
    case .loss, .mae, .content, .style, .randError, .warpingError: true
    case .accuracy, .dice, .iou, .f1, .rand, .info: false
    }
  }

  public var title: String {
    switch self {
    case .loss: "loss"
    case .accuracy: "accuracy"
    case .dice: "Dice"
    case .iou: "IoU"
    case .f1: "F1"
    case .mae: "MAE"
    case .content: "content loss"
    case .style: "style loss"
    case .rand: "V_Rand"
    case .info: "V_Info"
    case .randError: "Rand error"
    case .warpingError: "warping error"
    }
  }
}

/// The data of a run.
public struct DataRecord: Codable, Sendable, Equatable {
  /// Such as "synthetic EM-like stack (seed 0)" or the path of the images.
  public var name: String
  public var isSynthetic: Bool
  /// What is counted: slices, images, frames.
  public var unit: String
  public var trainingSamples: Int
  public var validationSamples: Int
  /// 0 where scores are taken on the validation samples.
  public var testSamples: Int
  public var height: Int
  public var width: Int
  public var channels: Int
  /// 0 where there are none, as in regression.
  public var classes: Int
  /// By ``ScoreName``: those of the best constant prediction on the samples that scores are taken on; empty where there is none.
  public var constantScores: [String: Double]
  /// Tells the values of images and labels from others; nil in older records.
  public var digest: String?

  public init(
    name: String, isSynthetic: Bool, unit: String = "slices", trainingSamples: Int, validationSamples: Int,
    testSamples: Int = 0, height: Int, width: Int, channels: Int, classes: Int, constantScores: [String: Double],
    digest: String? = nil
  ) {
    self.name = name
    self.isSynthetic = isSynthetic
    self.unit = unit
    self.trainingSamples = trainingSamples
    self.validationSamples = validationSamples
    self.testSamples = testSamples
    self.height = height
    self.width = width
    self.channels = channels
    self.classes = classes
    self.constantScores = constantScores
    self.digest = digest
  }
}

/// The machine and software of a run.
public struct EnvironmentRecord: Codable, Sendable, Equatable {
  public var norma: String
  public var libtorch: String
  public var processor: String
  public var threads: Int
  public var device: String
  /// Processes that train together; nil for one.
  public var workers: Int?

  public init(
    norma: String, libtorch: String, processor: String, threads: Int, device: String, workers: Int? = nil
  ) {
    self.norma = norma
    self.libtorch = libtorch
    self.processor = processor
    self.threads = threads
    self.device = device
    self.workers = workers
  }
}

/// results.json.
public struct ComparisonRecord: Codable, Sendable, Equatable {
  public static let currentVersion = 3
  public var schemaVersion = ComparisonRecord.currentVersion
  /// ISO 8601, UTC.
  public var started: String
  public var environment: EnvironmentRecord
  /// Every option of the run by its name on the command line.
  public var configuration: [String: String]
  public var data: DataRecord
  /// What norms are compared by.
  public var score: ScoreName
  /// In the order of training.
  public var runs: [RunRecord]
  /// What the finished runs show together, one entry per batch size.
  public var analysis: [AnalysisRecord] = []

  /// Whether all runs were trained on the machine and software that are told.
  public var isOfOneEnvironment: Bool { runs.allSatisfy { $0.environment == nil } }

  /// Puts a run in the place of that of the same cell, or at the end.
  public mutating func put(_ run: RunRecord) {
    if let place = runs.firstIndex(where: { $0.cell == run.cell }) { runs[place] = run } else { runs.append(run) }
  }

  public init(
    started: String, environment: EnvironmentRecord, configuration: [String: String], data: DataRecord,
    score: ScoreName, runs: [RunRecord] = []
  ) {
    self.started = started
    self.environment = environment
    self.configuration = configuration
    self.data = data
    self.score = score
    self.runs = runs
  }
}

// MARK: - Version 2, which knew segmentation by the U-Net alone

extension EpochRecord {
  private enum Version2: String, CodingKey {
    case accuracy, validationAccuracy
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    let old = try decoder.container(keyedBy: Version2.self)
    func scores(_ key: CodingKeys, _ oldKey: Version2) throws -> [String: Double] {
      guard old.contains(oldKey) else { return try values.decode([String: Double].self, forKey: key) }
      return [ScoreName.accuracy.rawValue: try old.decode(Double.self, forKey: oldKey)]
    }
    self.init(
      epoch: try values.decode(Int.self, forKey: .epoch), loss: try values.decode(Double.self, forKey: .loss),
      scores: try scores(.scores, .accuracy), validationLoss: try values.decode(Double.self, forKey: .validationLoss),
      validationScores: try scores(.validationScores, .validationAccuracy),
      validationDice: try values.decode([Double].self, forKey: .validationDice),
      validationIntersectionOverUnion: try values.decode([Double].self, forKey: .validationIntersectionOverUnion),
      learningRate: try values.decode(Double.self, forKey: .learningRate),
      seconds: try values.decode(Double.self, forKey: .seconds),
      validationSeconds: try values.decode(Double.self, forKey: .validationSeconds),
      dataWaitSeconds: try values.decode(Double.self, forKey: .dataWaitSeconds))
  }
}

extension DataRecord {
  private enum Version2: String, CodingKey {
    case trainingSlices, validationSlices, testSlices, constantAccuracy
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    let old = try decoder.container(keyedBy: Version2.self)
    func count(_ key: CodingKeys, _ oldKey: Version2) throws -> Int {
      old.contains(oldKey) ? try old.decode(Int.self, forKey: oldKey) : try values.decode(Int.self, forKey: key)
    }
    self.init(
      name: try values.decode(String.self, forKey: .name),
      isSynthetic: try values.decode(Bool.self, forKey: .isSynthetic),
      unit: try values.decodeIfPresent(String.self, forKey: .unit) ?? "slices",
      trainingSamples: try count(.trainingSamples, .trainingSlices),
      validationSamples: try count(.validationSamples, .validationSlices),
      testSamples: try count(.testSamples, .testSlices), height: try values.decode(Int.self, forKey: .height),
      width: try values.decode(Int.self, forKey: .width), channels: try values.decode(Int.self, forKey: .channels),
      classes: try values.decode(Int.self, forKey: .classes),
      constantScores: old.contains(.constantAccuracy)
        ? [ScoreName.accuracy.rawValue: try old.decode(Double.self, forKey: .constantAccuracy)]
        : try values.decode([String: Double].self, forKey: .constantScores),
      digest: try values.decodeIfPresent(String.self, forKey: .digest))
  }
}
