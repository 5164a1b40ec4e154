import NormaData
import NormaMetrics
import NormaNN
import NormaRecords
import NormaTensor

/// How a segmentation network is trained.
public struct TrainingOptions: Sendable {
  public var epochs = 5
  public var loader: SampleOptions
  public var loss = SegmentationLoss()
  public var optimizer = OptimizerKind.adam
  public var learningRate = 1e-3
  public var momentum: Double?
  public var weightDecay = 0.0
  public var schedule = Schedule.constant
  /// Type of the images and activations; parameters stay float32.
  public var dtype = DType.float32
  public var device = Device.cpu
  /// Computes what the backward pass can have again cheaply instead of keeping it: less memory, a little more time.
  public var recomputes = false
  /// Keeps a copy of the network's state after its best epoch, for ``SegmentationTrainer/restoreBest()``.
  public var keepsBest = false
  /// Ends the training when the validation loss has not become lower in so many epochs; nil trains them all.
  public var earlyStopping: Int?
  /// The share of the old average in a ``WeightAverage``, which is validated and kept in the place of the weights; nil for none.
  public var averageDecay: Double?

  public init(loader: SampleOptions) { self.loader = loader }
}

/// Where a training stands after a step.
public struct TrainingProgress: Sendable {
  /// From 1.
  public let epoch: Int
  /// Steps done in this epoch.
  public let step: Int
  public let stepsPerEpoch: Int
  /// Means over the epoch so far.
  public let loss: Double
  public let accuracy: Double
}

/// Trains a network on the slices of one dataset and scores it on those of another.
public final class SegmentationTrainer {
  let model: any Layer
  private let parameters: [Parameter]
  let optimizer: any Optimizer
  let average: WeightAverage?
  /// Of everything in the network that is random.
  let generators: [Generator]
  private let followers: [any ProgressFollowing]
  private let training: SegmentationDataset
  private let validation: SegmentationDataset
  let options: TrainingOptions
  /// Height and width that the model takes are multiples of this.
  private let extentMultiple: Int

  /// Of training and validation. Taken once: a checkpoint may be written after every step.
  private(set) lazy var dataDigest = "\(training.digest) \(validation.digest)"

  /// What the training has come to so far.
  public internal(set) var state = TrainingState()

  /// Milliseconds of every step so far, and how long each waited for its data.
  public var stepMilliseconds: [Double] { state.stepMilliseconds }
  public var dataWaitMilliseconds: [Double] { state.dataWaitMilliseconds }
  public var history: [EpochRecord] { state.history }
  /// The epoch with the lowest validation loss so far, from 1.
  public var bestEpoch: Int? { state.bestEpoch }

  /// The validation after the last epoch, with probabilities unless the training stopped early; nil before its end.
  public private(set) var finalEvaluation: Evaluation?
  /// The network's state after ``bestEpoch``, if that is kept.
  var bestState: [Tensor] = []

  /// - Throws: `DataError` or ``TrainingError`` when the options do not fit the data or each other.
  /// - Parameter generators: draw what is random in the network, such as dropout; checkpoints hold their states.
  public init(
    model: any Layer, extentMultiple: Int, training: SegmentationDataset, validation: SegmentationDataset,
    options: TrainingOptions, generators: [Generator] = []
  ) throws {
    try Self.validate(options, extentMultiple: extentMultiple, training: training)
    self.model = model
    self.extentMultiple = extentMultiple
    self.training = training
    self.validation = validation
    self.options = options
    try model.to(device: options.device)
    // The fast layout for 2-d convolutions; outputs follow the weights.
    try model.to(memoryFormat: .channelsLast)
    parameters = model.parameters
    followers = model.progressFollowers
    self.generators = generators
    optimizer = try options.optimizer.make(
      parameters: parameters, learningRate: options.learningRate, momentum: options.momentum,
      weightDecay: options.weightDecay)
    average = try options.averageDecay.map { try WeightAverage(model, decay: $0) }
  }

  /// Checks what can be checked before any network is made.
  public static func validate(
    _ options: TrainingOptions, extentMultiple: Int, training: SegmentationDataset
  ) throws {
    try options.loader.validate(for: training)
    guard options.loader.crop % extentMultiple == 0 else {
      throw TrainingError(
        "the network takes crops whose side is a multiple of \(extentMultiple), got \(options.loader.crop); "
          + "choose \(max(1, options.loader.crop / extentMultiple) * extentMultiple) or another multiple")
    }
    guard options.epochs > 0 else {
      throw TrainingError("at least one epoch is needed, got \(options.epochs)")
    }
    guard options.learningRate > 0, options.learningRate.isFinite else {
      throw TrainingError("the learning rate must be a number above 0, got \(options.learningRate)")
    }
    if let patience = options.earlyStopping, patience < 1 {
      throw TrainingError("early stopping waits for at least one epoch, got \(patience)")
    }
    if let decay = options.averageDecay, !(0..<1).contains(decay) {
      throw TrainingError("the decay of averaged weights must be at least 0 and below 1, got \(decay)")
    }
    if let weights = options.loss.classWeights {
      guard weights.count == training.classes, weights.allSatisfy({ $0 >= 0 && $0.isFinite }),
        weights.contains(where: { $0 > 0 })
      else {
        throw TrainingError(
          "\(training.classes) class weights of at least 0, not all 0, are needed for the \(training.classes) classes, got \(weights)"
        )
      }
    }
  }

  /// Trains for all epochs, or those that are left after ``restore(from:)``.
  /// - Parameters:
  ///   - onStep: called after every training step.
  ///   - onEpoch: called after every epoch's validation.
  ///   - checkpoints: when to write them; they come after every epoch at least. nil writes none.
  /// - Throws: ``TrainingError`` when the loss is no longer finite; ``TrainingInterrupted`` when `checkpoints` asked for an end;
  ///   ``history`` and the times stay readable.
  public func run(
    onStep: (TrainingProgress) throws -> Void = { _ in }, onEpoch: (EpochRecord) throws -> Void = { _ in },
    checkpoints: CheckpointPlan? = nil
  ) throws {
    var keeper = checkpoints.map(CheckpointKeeper.init)
    var loader: BatchLoader<SegmentationBatch>?
    while !isDone {
      let epoch = state.history.count + 1
      try trainEpoch(
        epoch, loader ?? training.batches(options.loader, epoch: epoch - 1, skipping: state.epoch.steps), onStep,
        &keeper)
      // The next epoch's first batches are prepared while this one is validated.
      loader = epoch < options.epochs ? try training.batches(options.loader, epoch: epoch) : nil
      try endEpoch(epoch, onEpoch)
      try keeper?.write()
      if !isDone { try keeper?.stopIfAsked(isWritten: true) }
    }
    if finalEvaluation == nil { finalEvaluation = try averaged { try evaluate() } }
    try average?.exchange()
  }

  private var isDone: Bool {
    if state.history.count >= options.epochs { return true }
    guard let patience = options.earlyStopping, let best = state.bestEpoch else { return false }
    return state.history.count - best >= patience
  }

  /// Whether the training ended before its last epoch, as the validation loss no longer became lower.
  public var hasStoppedEarly: Bool { isDone && state.history.count < options.epochs }

  private func averaged<Result>(_ body: () throws -> Result) throws -> Result {
    try average.map { try $0.applied(body) } ?? body()
  }

  private func endEpoch(_ epoch: Int, _ onEpoch: (EpochRecord) throws -> Void) throws {
    let sums = state.epoch
    var evaluation = Evaluation(classes: training.classes)
    try averaged {
      let validationSeconds = try seconds { evaluation = try evaluate(keepingProbabilities: epoch == options.epochs) }
      let record = EpochRecord(
        epoch: epoch, loss: sums.loss / Double(max(1, sums.samples)),
        accuracy: sums.accuracy / Double(max(1, sums.samples)), validationLoss: evaluation.loss,
        validationAccuracy: evaluation.confusion.accuracy,
        validationDice: (0..<training.classes).map(evaluation.confusion.dice),
        validationIntersectionOverUnion: (0..<training.classes).map(evaluation.confusion.intersectionOverUnion),
        learningRate: optimizer.learningRate, seconds: sums.seconds, validationSeconds: validationSeconds,
        dataWaitSeconds: sums.dataWaitSeconds)
      state.history.append(record)
      state.epoch = .init()
      if state.history.allSatisfy({ $0.epoch == epoch || $0.validationLoss > evaluation.loss }) {
        state.bestEpoch = epoch
        if options.keepsBest { bestState = try modelState.map { try $0.detached().cloned() } }
      }
      try onEpoch(record)
    }
    guard evaluation.loss.isFinite else {
      throw TrainingError(
        "the validation loss became \(evaluation.loss.isNaN ? "NaN" : "infinite") after epoch \(epoch); lower the learning rate (--learning-rate)"
      )
    }
    if isDone { finalEvaluation = evaluation }
  }

  /// Looks into the network on as many training samples as a step has. The samples depend on the training's crop, batch
  /// size and augmentation alone, and none of them is another's of the training.
  public func probe() throws -> TrainingProbe {
    var samples = options.loader
    (samples.samplesPerEpoch, samples.seed, samples.workers) = (samples.batchSize, 0, 1)
    // Epochs of trainings count from 0.
    guard let batch = try training.batches(samples, epoch: -1).next() else {
      preconditionFailure("a batch has at least one sample")
    }
    let (images, labels, weights) = try tensors(batch)
    let hasIgnored = batch.labels.contains(SegmentationDataset.ignoredClass)
    return TrainingProbe(model: model) { [model, options] in
      let logits = try Recomputation.$isEnabled.withValue(options.recomputes) { try model(images) }
      return try options.loss(logits, labels: labels, weights: weights, hasIgnored: hasIgnored)
    }
  }

  var modelState: [Tensor] { model.stateDictionary().map(\.value) }

  /// Gives the network the state that it had after ``bestEpoch``, if that was kept.
  public func restoreBest() throws {
    guard bestEpoch != nil, options.keepsBest else { return }
    try withoutGradients { for (tensor, best) in zip(modelState, bestState) { try tensor.copy(from: best) } }
  }

  private func trainEpoch(
    _ epoch: Int, _ loader: BatchLoader<SegmentationBatch>, _ onStep: (TrainingProgress) throws -> Void,
    _ keeper: inout CheckpointKeeper?
  ) throws {
    model.train()
    while true {
      var next: SegmentationBatch?
      let wait = try seconds { next = try loader.next() }
      guard let batch = next else { return }
      let step = state.epoch.steps
      let total = (epoch - 1) * loader.batchCount + step
      let totalSteps = options.epochs * loader.batchCount
      optimizer.learningRate =
        options.learningRate
        * options.schedule.factor(
          step: total, totalSteps: totalSteps, stepsPerEpoch: loader.batchCount,
          validationLosses: state.history.map(\.validationLoss))
      for follower in followers { try follower.followProgress(Double(total) / Double(totalSteps)) }
      var loss = 0.0
      var accuracy = 0.0
      let elapsed = try seconds {
        (loss, accuracy) = try trainStep(batch, place: "epoch \(epoch), step \(step + 1)")
        try average?.update()
      }
      state.epoch.steps += 1
      state.epoch.samples += batch.count
      state.epoch.loss += loss * Double(batch.count)
      state.epoch.accuracy += accuracy * Double(batch.count)
      state.epoch.seconds += wait + elapsed
      state.epoch.dataWaitSeconds += wait
      state.stepMilliseconds.append(elapsed * 1000)
      state.dataWaitMilliseconds.append(wait * 1000)
      let samples = Double(state.epoch.samples)
      try onStep(
        TrainingProgress(
          epoch: epoch, step: step + 1, stepsPerEpoch: loader.batchCount, loss: state.epoch.loss / samples,
          accuracy: state.epoch.accuracy / samples))
      // The last step's is that of the epoch, after its validation.
      if step + 1 < loader.batchCount {
        try keeper?.stopIfAsked(isWritten: false)
        try keeper?.writeIfDue()
      }
    }
  }

  private func trainStep(_ batch: SegmentationBatch, place: String) throws -> (loss: Double, accuracy: Double) {
    let (images, labels, weights) = try tensors(batch)
    for parameter in parameters { try parameter.value.setGradient(nil) }
    let logits = try Recomputation.$isEnabled.withValue(options.recomputes) { try model(images) }
    let hasIgnored = batch.labels.contains(SegmentationDataset.ignoredClass)
    let loss = try options.loss(logits, labels: labels, weights: weights, hasIgnored: hasIgnored)
    let value = try loss.item()
    // Before the step, so that the weights stay as they were.
    guard value.isFinite else {
      throw TrainingError(
        "the loss became \(value.isNaN ? "NaN" : "infinite") in \(place) at learning rate \(optimizer.learningRate); "
          + "lower the learning rate (--learning-rate) or look for extreme values in the images")
    }
    try loss.backward()
    try optimizer.step()
    return try withoutGradients {
      let right = try classes(logits.detached()) .== labels
      let counted =
        hasIgnored ? try (labels .!= Int(SegmentationDataset.ignoredClass)).sum().item() : Double(labels.count)
      return (value, try right.sum().item() / max(1, counted))
    }
  }

  private func tensors(_ batch: SegmentationBatch) throws -> (images: Tensor, labels: Tensor, weights: Tensor?) {
    let shape = [batch.count, batch.height, batch.width]
    return (
      try Tensor(batch.images, shape: [batch.count, batch.channels, batch.height, batch.width])
        .to(device: options.device).to(dtype: options.dtype).contiguous(.channelsLast),
      try Tensor(batch.labels, shape: shape).to(device: options.device).to(dtype: .int64),
      try batch.weights.map { try Tensor($0, shape: shape).to(device: options.device) }
    )
  }

  /// Class indices [N, H, W] of logits [N, K or 1, H, W].
  private func classes(_ logits: Tensor) throws -> Tensor {
    logits.shape[1] == 1
      ? try (logits.squeezed(1) .> 0.0).to(dtype: .int64) : try logits.argmax(1)
  }

  // MARK: - Evaluation

  /// What the network does on the validation slices.
  public struct Evaluation {
    /// Mean over the slices.
    public var loss = 0.0
    public var confusion: ConfusionMatrix
    /// Per slice: of class 1 [H, W] for two classes, of every class [K, H, W] for more. Empty unless asked for.
    public var probabilities: [[Float]] = []
    /// Per slice: the predicted class of every pixel [H, W].
    public var predictions: [[UInt8]] = []

    init(classes: Int) { confusion = ConfusionMatrix(classes: classes) }
  }

  /// Scores the network in evaluation mode on whole validation slices, mirrored at the border up to a size
  /// that it takes.
  /// - Parameter slices: other slices than the validation's.
  public func evaluate(on slices: SegmentationDataset? = nil, keepingProbabilities: Bool = true) throws -> Evaluation {
    let validation = slices ?? validation
    let wasTraining = model.isTraining
    model.evaluate()
    defer { model.train(wasTraining) }
    var evaluation = Evaluation(classes: validation.classes)
    let loader = try validation.validationBatches()
    try withoutGradients {
      while let batch = try loader.next() {
        let (images, labels, _) = try tensors(batch)
        let logits = try predict(images)
        let loss = try options.loss(
          logits, labels: labels, weights: nil,
          hasIgnored: batch.labels.contains(SegmentationDataset.ignoredClass))
        evaluation.loss += try loss.item() / Double(validation.pages)
        let predicted = try classes(logits).to(dtype: .uint8).array(of: UInt8.self)
        evaluation.confusion.add(truth: batch.labels, prediction: predicted)
        if keepingProbabilities {
          let probabilities = logits.shape[1] == 1 ? try logits.sigmoid() : try logits.softmax(1)
          evaluation.probabilities.append(try probabilities.array())
          evaluation.predictions.append(predicted)
        }
      }
    }
    return evaluation
  }

  private func predict(_ images: Tensor) throws -> Tensor {
    let (height, width) = (images.shape[2], images.shape[3])
    func missing(_ extent: Int) -> Int { (extentMultiple - extent % extentMultiple) % extentMultiple }
    let (below, right) = (missing(height), missing(width))
    let padded = below + right == 0 ? images : try images.paddedByReflection([0, right, 0, below])
    let logits = try model(padded)
    let whole = try logits.sliced(0..<height, dimension: 2).sliced(0..<width, dimension: 3)
    return try whole.to(dtype: .float32)
  }
}

/// The seconds that the body takes.
private func seconds(_ body: () throws -> Void) rethrows -> Double {
  try ContinuousClock().measure(body) / .seconds(1)
}
