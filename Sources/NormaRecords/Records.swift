// What a comparison leaves behind, as it stands in results.json. Documentation/Results.md describes every
// field; the version changes when the meaning of one does.

/// One epoch of training.
public struct EpochRecord: Codable, Sendable, Equatable {
  /// From 1.
  public var epoch: Int
  /// Means over the training samples of the epoch, as they were while training.
  public var loss: Double
  public var accuracy: Double
  public var validationLoss: Double
  public var validationAccuracy: Double
  /// One score per class, on the validation slices.
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
    epoch: Int, loss: Double, accuracy: Double, validationLoss: Double, validationAccuracy: Double,
    validationDice: [Double], validationIntersectionOverUnion: [Double], learningRate: Double,
    seconds: Double, validationSeconds: Double, dataWaitSeconds: Double
  ) {
    self.epoch = epoch
    self.loss = loss
    self.accuracy = accuracy
    self.validationLoss = validationLoss
    self.validationAccuracy = validationAccuracy
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

/// Training under one normalization.
public struct NormRecord: Codable, Sendable, Equatable {
  public var norm: String
  /// Parameters and running statistics.
  public var totalParameters: Int
  public var trainableParameters: Int
  public var history: [EpochRecord]
  /// Milliseconds of every training step, in order, without the wait for data.
  public var stepMilliseconds: [Double]
  /// Milliseconds that every step waited for its data.
  public var dataWaitMilliseconds: [Double]
  /// Largest number of bytes in live tensors during training and validation.
  public var peakTensorBytes: Int
  /// Peak resident memory of the process since this norm began; nil where the system does not tell.
  public var peakProcessBytes: Int?
  /// Why training ended early, or nil.
  public var failure: String?
  /// The class that the final network predicts for every validation pixel, or nil when it has not collapsed.
  public var collapsedToClass: Int?
  /// The learned mixes of switchable normalization; empty for others.
  public var mixes: [MixRecord]

  public init(
    norm: String, totalParameters: Int, trainableParameters: Int, history: [EpochRecord],
    stepMilliseconds: [Double], dataWaitMilliseconds: [Double], peakTensorBytes: Int,
    peakProcessBytes: Int?, failure: String?, collapsedToClass: Int?, mixes: [MixRecord]
  ) {
    self.norm = norm
    self.totalParameters = totalParameters
    self.trainableParameters = trainableParameters
    self.history = history
    self.stepMilliseconds = stepMilliseconds
    self.dataWaitMilliseconds = dataWaitMilliseconds
    self.peakTensorBytes = peakTensorBytes
    self.peakProcessBytes = peakProcessBytes
    self.failure = failure
    self.collapsedToClass = collapsedToClass
    self.mixes = mixes
  }

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

/// The data of a run.
public struct DataRecord: Codable, Sendable, Equatable {
  /// Such as "synthetic EM-like stack (seed 0)" or the path of the images.
  public var name: String
  public var isSynthetic: Bool
  public var trainingSlices: Int
  public var validationSlices: Int
  public var height: Int
  public var width: Int
  public var channels: Int
  public var classes: Int
  /// The accuracy of the best constant prediction on the validation slices.
  public var constantAccuracy: Double

  public init(
    name: String, isSynthetic: Bool, trainingSlices: Int, validationSlices: Int, height: Int, width: Int,
    channels: Int, classes: Int, constantAccuracy: Double
  ) {
    self.name = name
    self.isSynthetic = isSynthetic
    self.trainingSlices = trainingSlices
    self.validationSlices = validationSlices
    self.height = height
    self.width = width
    self.channels = channels
    self.classes = classes
    self.constantAccuracy = constantAccuracy
  }
}

/// The machine and software of a run.
public struct EnvironmentRecord: Codable, Sendable, Equatable {
  public var norma: String
  public var libtorch: String
  public var processor: String
  public var threads: Int
  public var device: String

  public init(norma: String, libtorch: String, processor: String, threads: Int, device: String) {
    self.norma = norma
    self.libtorch = libtorch
    self.processor = processor
    self.threads = threads
    self.device = device
  }
}

/// results.json.
public struct ComparisonRecord: Codable, Sendable, Equatable {
  public static let currentVersion = 1
  public var schemaVersion = ComparisonRecord.currentVersion
  /// ISO 8601, UTC.
  public var started: String
  public var environment: EnvironmentRecord
  /// Every option of the run by its name on the command line.
  public var configuration: [String: String]
  public var data: DataRecord
  public var norms: [NormRecord]

  public init(
    started: String, environment: EnvironmentRecord, configuration: [String: String], data: DataRecord,
    norms: [NormRecord]
  ) {
    self.started = started
    self.environment = environment
    self.configuration = configuration
    self.data = data
    self.norms = norms
  }
}
