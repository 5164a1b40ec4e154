import NormaData
import NormaNN
import NormaNormalization
import NormaTensor
import NormaTraining

/// One training of a small network, as the claims vary it.
struct ClaimTrial {
  var norm = Normalization.batch
  var depth = 4
  var width = 16
  var activation = Activation.relu
  var normFollowsActivation = false
  var initialScale = 1.0
  var batchSize = 16
  var learningRate = 0.1
  var steps = 100
  /// So many training pictures again and again; nil for fresh ones in every step.
  var trainingPictures: Int?
  /// Test pictures are multiplied by these, each a test of its own.
  var contrasts: [Float] = [1]

  struct Outcome {
    /// Of every step; infinite from where the training diverged.
    var losses: [Double] = []
    /// Share of training pictures classified rightly in evaluation mode; nil for fresh ones.
    var trainingAccuracy: Double?
    /// On pictures that are neither for training nor for testing.
    var validationAccuracy = 0.0
    /// On test pictures, one per contrast.
    var accuracies: [Double] = []

    var accuracy: Double { accuracies.first ?? 0 }

    /// The first step after which the mean loss of the ten steps before is at most the given; infinite if none is.
    func steps(to loss: Double) -> Double {
      guard losses.count >= 10 else { return .infinity }
      for end in 10...losses.count where losses[(end - 10)..<end].reduce(0, +) / 10 <= loss { return Double(end) }
      return .infinity
    }
  }

  static let testPictures = 400

  /// Trains and tests. The seed decides weights and pictures; trials of one seed see the same.
  func run(_ data: ClaimData, seed: UInt64) throws -> Outcome {
    let network = try ClaimNetwork(self, data: data, generator: try Generator(seed: seed))
    let pool = try trainingPictures.map { try data.batch($0, seed: picturesSeed(seed, 1)) }
    var outcome = try train(network) { step in
      guard let pool, let count = trainingPictures else {
        return try data.batch(batchSize, seed: picturesSeed(seed, 1000 + UInt64(step)))
      }
      var random = RandomSource(seed: picturesSeed(seed, 1000 + UInt64(step)))
      let chosen = try Tensor((0..<batchSize).map { _ in Int64(random.integer(below: count)) })
      return ClaimData.Batch(
        images: try pool.images.gatheredRows(chosen), labels: try pool.labels.gatheredRows(chosen))
    }
    outcome.trainingAccuracy = try pool.map { try Self.accuracy(network, $0) }
    outcome.validationAccuracy = try Self.accuracy(
      network, data.batch(Self.testPictures, seed: picturesSeed(seed, 3)))
    outcome.accuracies = try contrasts.map {
      try Self.accuracy(network, data.batch(Self.testPictures, seed: picturesSeed(seed, 2), contrast: $0))
    }
    return outcome
  }

  static let rates = [0.03, 0.1, 0.3]

  /// The trial at the learning rate, of ``rates``, that does best on validation pictures.
  func best(_ data: ClaimData, seed: UInt64) throws -> Outcome {
    try Self.best { rate in
      var trial = self
      trial.learningRate = rate
      return try trial.run(data, seed: seed)
    }
  }

  static func best(_ run: (_ learningRate: Double) throws -> Outcome) throws -> Outcome {
    // The first of equals, so that seeds alone decide.
    let outcomes = try rates.map(run)
    return outcomes.dropFirst().reduce(outcomes[0]) { $1.validationAccuracy > $0.validationAccuracy ? $1 : $0 }
  }

  /// Different streams of one seed.
  func picturesSeed(_ seed: UInt64, _ stream: UInt64) -> UInt64 {
    var random = RandomSource(seed: seed).derive(stream: stream)
    return random.next()
  }

  /// Trains by stochastic gradient descent with momentum 0.9 and a cosine schedule.
  func train(_ network: any Layer, batch: (Int) throws -> ClaimData.Batch) throws -> Outcome {
    var outcome = Outcome()
    let optimizer = try OptimizerKind.sgd.make(
      parameters: network.parameters, learningRate: learningRate, momentum: 0.9, weightDecay: 0)
    network.train()
    for step in 0..<steps {
      let batch = try batch(step)
      try network.clearGradients()
      let loss = try network(batch.images).crossEntropy(target: batch.labels)
      let value = try loss.item()
      guard value.isFinite else {
        outcome.losses += Array(repeating: .infinity, count: steps - step)
        break
      }
      outcome.losses.append(value)
      try loss.backward()
      optimizer.learningRate =
        learningRate * Schedule.cosine.factor(step: step, totalSteps: steps, stepsPerEpoch: steps)
      try optimizer.step()
    }
    return outcome
  }

  /// Not-a-number logits are no right answer.
  static func accuracy(_ network: any Layer, _ batch: ClaimData.Batch) throws -> Double {
    network.evaluate()
    defer { network.train() }
    return try withoutGradients {
      let logits = try network(batch.images)
      guard try logits.allFinite() else { return 0 }
      return try (logits.argmax(1) .== batch.labels).to(dtype: .float32).mean().item()
    }
  }
}
