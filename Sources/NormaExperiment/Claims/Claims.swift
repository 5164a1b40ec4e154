import NormaData
import NormaNN
import NormaNormalization
import NormaRecords
import NormaTensor

extension Claim {
  /// Every claim, in the order of the command's list.
  public static let all: [Claim] = [
    learningRates, initialization, gradients, convergence, regularization, smallBatches, largeBatches, groupCount,
    beforeActivation, contrast, recurrent, switchable, cost,
  ]

  private static let none = Normalization.none
  private static let batch = Normalization.batch
  private static let group = Normalization.group(groups: 4)
  private static let network =
    "A classifier of 4 normalized convolutions of 16 channels, batches of 16, SGD with momentum and a cosine schedule."
  private static let greatestRate = "log₁₀ of the greatest rate that trains"
  private static let factorsThatTrain = "number of factors that train"
  private static let timeRatio = "log₂ of the ratio of times"
  private static let tuned = "each at the best of three learning rates by validation"

  private typealias Swept<Setting> = (arm: String, setting: Setting, outcome: ClaimTrial.Outcome)

  /// What of a sweep came halfway from guessing to knowing under a norm.
  private static func trained<Setting>(
    _ found: [Swept<Setting>], _ norm: Normalization, _ setting: ClaimSetting
  ) -> [Swept<Setting>] {
    found.filter { $0.arm == norm.name && $0.outcome.accuracy >= setting.learned }
  }

  /// Runs a trial per norm and setting.
  /// - Parameter isTuned: at the best of several learning rates instead of the trial's.
  private static func sweep<Setting>(
    _ setting: ClaimSetting, seed: UInt64, norms: [Normalization], over settings: [Setting], isTuned: Bool = false,
    change: (inout ClaimTrial, Setting) -> Void
  ) throws -> [Swept<Setting>] {
    try norms.flatMap { norm in
      try settings.map { value in
        var trial = setting.trial
        trial.norm = norm
        change(&trial, value)
        return (
          norm.name, value,
          try isTuned ? trial.best(setting.data, seed: seed) : trial.run(setting.data, seed: seed)
        )
      }
    }
  }

  private static let learningRates = Claim(
    name: "learning-rates", statement: "Normalization allows higher learning rates.",
    source: "Ioffe & Szegedy 2015, section 3.3",
    experiment: "Test accuracy over learning rates; the greatest rate at which it is halfway to perfect. \(network)",
    quantity: "test accuracy", condition: "learning rate",
    tests: [
      Test(
        kind: .greater(
          Place(quantity: greatestRate, arm: "batch", condition: ""),
          Place(quantity: greatestRate, arm: "none", condition: "")),
        margin: 0.3)
    ]
  ) { setting, seed in
    let found = try sweep(
      setting, seed: seed, norms: [none, batch, group], over: [0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10]
    ) {
      $0.learningRate = $1
    }
    let curves = found.map { Value(arm: $0.arm, condition: "\($0.setting)", value: $0.outcome.accuracy) }
    let greatest = [none, batch, group].map { norm in
      let usable = trained(found, norm, setting).map(\.setting).max()
      // Below the smallest that was tried, where none was usable.
      return Value(quantity: greatestRate, arm: norm.name, condition: "", value: logarithm(usable ?? 0.001))
    }
    return curves + greatest
  }

  private static let initialization = Claim(
    name: "initialization", statement: "Normalization makes training robust to bad initial weights.",
    source: "Ioffe & Szegedy 2015, section 3.3",
    experiment: "Test accuracy with initial weights multiplied by a factor; how many of the factors train. \(network)",
    quantity: "test accuracy", condition: "factor of the initial weights",
    tests: [
      Test(
        kind: .greater(
          Place(quantity: factorsThatTrain, arm: "batch", condition: ""),
          Place(quantity: factorsThatTrain, arm: "none", condition: "")),
        margin: 1)
    ]
  ) { setting, seed in
    let found = try sweep(setting, seed: seed, norms: [none, batch, group], over: [0.01, 0.1, 0.3, 1, 3, 10, 100]) {
      $0.initialScale = $1
      $0.learningRate = 0.03
    }
    return found.map { Value(arm: $0.arm, condition: "\($0.setting)", value: $0.outcome.accuracy) }
      + [none, batch, group].map { norm in
        Value(
          quantity: factorsThatTrain, arm: norm.name, condition: "",
          value: Double(trained(found, norm, setting).count))
      }
  }

  private static let gradients = Claim(
    name: "gradients", statement: "Normalization keeps gradients alive in deep saturating networks.",
    source: "Ioffe & Szegedy 2015, section 1",
    experiment:
      "Before training: how many decades the gradient of the first convolution is above that of the last, with sigmoids after every one of them.",
    quantity: "log₁₀ of the first over the last gradient", condition: "convolutions",
    tests: [Test(kind: .greater(Place(arm: "batch", condition: "16"), Place(arm: "none", condition: "16")), margin: 1)]
  ) { setting, seed in
    try [none, batch, group].flatMap { norm in
      try [2, 4, 8, 16].map { depth in
        var trial = setting.trial
        (trial.norm, trial.depth, trial.activation) = (norm, depth, .sigmoid)
        let network = try ClaimNetwork(trial, data: setting.data, generator: try Generator(seed: seed))
        let batch = try setting.data.batch(64, seed: trial.picturesSeed(seed, 1))
        try network(batch.images).crossEntropy(target: batch.labels).backward()
        let (first, last) = try network.gradientNorms()
        // Gradients below the smallest number count as 30 decades.
        return Value(
          arm: norm.name, condition: "\(depth)", value: first > 0 && last > 0 ? logarithm(first) - logarithm(last) : -30
        )
      }
    }
  }

  private static let convergence = Claim(
    name: "convergence", statement: "Normalization speeds convergence.",
    source: "Ioffe & Szegedy 2015, section 4.2",
    experiment:
      "Steps to half of the loss of guessing, each norm at the best of four learning rates; never reached counts as all steps. \(network)",
    quantity: "steps to half the loss", condition: "",
    tests: [Test(kind: .greater(Place(arm: "none", condition: ""), Place(arm: "batch", condition: "")), margin: 2)]
  ) { setting, seed in
    let found = try sweep(setting, seed: seed, norms: [none, batch, group], over: [0.01, 0.03, 0.1, 0.3]) {
      $0.learningRate = $1
    }
    let target = naturalLogarithm(Double(setting.data.classes)) / 2
    return [none, batch, group].map { norm in
      let steps = found.filter { $0.arm == norm.name }.map { $0.outcome.steps(to: target) }.min() ?? .infinity
      return Value(arm: norm.name, condition: "", value: min(steps, Double(setting.budget.steps)))
    }
  }

  private static let regularization = Claim(
    name: "regularization", statement: "Batch normalization regularizes.",
    source: "Ioffe & Szegedy 2015, section 3.4",
    experiment:
      "Accuracy on 96 training pictures, seen again and again, less that on new ones. \(network) Twice the steps.",
    quantity: "training less test accuracy", condition: "",
    tests: [Test(kind: .greater(Place(arm: "none", condition: ""), Place(arm: "batch", condition: "")), margin: 0.02)]
  ) { setting, seed in
    try sweep(setting, seed: seed, norms: [none, batch, group], over: [0.03]) {
      $0.learningRate = $1
      $0.trainingPictures = 96
      $0.steps *= 2
    }.map {
      Value(arm: $0.arm, condition: "", value: ($0.outcome.trainingAccuracy ?? 0) - $0.outcome.accuracy)
    }
  }

  private static let batchSizes = [2, 4, 16, 64]

  /// Equal numbers of steps at every batch size.
  private static func overBatchSizes(
    _ setting: ClaimSetting, seed: UInt64, norms: [Normalization], sizes: [Int]
  ) throws -> [Value] {
    try sweep(setting, seed: seed, norms: norms, over: sizes, isTuned: true) {
      $0.batchSize = $1
    }.map { Value(arm: $0.arm, condition: "\($0.setting)", value: $0.outcome.accuracy) }
  }

  private static let smallBatches = Claim(
    name: "small-batches", statement: "Batch normalization fails at small batches, where group normalization does not.",
    source: "Wu & He 2018, section 1",
    experiment: "Test accuracy over batch sizes at equal numbers of steps, \(tuned).",
    quantity: "test accuracy", condition: "batch size",
    tests: [
      Test(kind: .greater(Place(arm: "group:4", condition: "2"), Place(arm: "batch", condition: "2")), margin: 0.02),
      Test(kind: .greater(Place(arm: "batch", condition: "16"), Place(arm: "batch", condition: "2")), margin: 0.02),
    ]
  ) { try overBatchSizes($0, seed: $1, norms: [batch, group, .switchable, none], sizes: batchSizes) }

  private static let largeBatches = Claim(
    name: "large-batches", statement: "Batch normalization needs no batches above 16 samples.",
    source: "Wu & He 2018, figure 5, where 16 to 32 samples are enough",
    experiment: "Test accuracy with 64 samples beside 16, at equal numbers of steps, \(tuned).",
    quantity: "test accuracy", condition: "batch size",
    tests: [
      Test(kind: .notWorse(Place(arm: "batch", condition: "16"), Place(arm: "batch", condition: "64")), margin: 0.02)
    ]
  ) { try overBatchSizes($0, seed: $1, norms: [batch], sizes: [16, 64]) }

  private static let groupCount = Claim(
    name: "group-count", statement: "The number of groups of group normalization matters.",
    source: "Wu & He 2018, table 3",
    experiment:
      "Test accuracy over the number of groups of 16 channels; 1 is layer and 16 is instance normalization, \(tuned). \(network)",
    quantity: "test accuracy", condition: "groups",
    tests: [Test(kind: .differ([1, 2, 4, 8, 16].map { Place(arm: "group", condition: "\($0)") }), margin: 0.02)]
  ) { setting, seed in
    try [1, 2, 4, 8, 16].map { groups in
      var trial = setting.trial
      trial.norm = .group(groups: groups)
      return Value(arm: "group", condition: "\(groups)", value: try trial.best(setting.data, seed: seed).accuracy)
    }
  }

  private static let beforeActivation = Claim(
    name: "before-activation", statement: "Batch normalization belongs before the activation.",
    source: "Ioffe & Szegedy 2015, section 3.2",
    experiment: "Test accuracy with the norm before and after ReLU, \(tuned). \(network)",
    quantity: "test accuracy", condition: "",
    tests: [Test(kind: .greater(Place(arm: "before", condition: ""), Place(arm: "after", condition: "")), margin: 0.01)]
  ) { setting, seed in
    try [false, true].map { follows in
      var trial = setting.trial
      trial.normFollowsActivation = follows
      return Value(
        arm: follows ? "after" : "before", condition: "", value: try trial.best(setting.data, seed: seed).accuracy)
    }
  }

  private static let contrast = Claim(
    name: "contrast",
    statement:
      "Instance normalization is best when contrast shifts between training and use, and generalizes worse otherwise.",
    source: "Ulyanov et al. 2016, section 2; Nam & Kim 2018",
    experiment: "Test accuracy with the contrast of the test pictures multiplied by a factor, \(tuned). \(network)",
    quantity: "test accuracy", condition: "factor of the test contrast",
    tests: [
      Test(
        kind: .greater(Place(arm: "instance", condition: "0.25"), Place(arm: "batch", condition: "0.25")), margin: 0.02),
      Test(kind: .greater(Place(arm: "batch", condition: "1"), Place(arm: "instance", condition: "1")), margin: 0.01),
    ]
  ) { setting, seed in
    let contrasts: [(String, Float)] = [("1", 1), ("0.25", 0.25), ("0.5", 0.5), ("2", 2), ("4", 4)]
    return try sweep(setting, seed: seed, norms: [batch, group, .instance, .switchable], over: [0], isTuned: true) {
      trial, _ in
      trial.contrasts = contrasts.map(\.1)
    }.flatMap { found in
      zip(contrasts, found.outcome.accuracies).map { Value(arm: found.arm, condition: $0.0, value: $1) }
    }
  }

  private static let recurrent = Claim(
    name: "recurrent",
    statement: "Layer normalization suits recurrent networks, better than batch normalization and none.",
    source: "Ba et al. 2016, section 3.1",
    experiment:
      "Test accuracy of a recurrent network of 32 units that has to remember which of 4 patterns came first in 20 noisy steps of varying loudness, \(tuned).",
    quantity: "test accuracy", condition: "",
    tests: [
      Test(kind: .greater(Place(arm: "layer", condition: ""), Place(arm: "none", condition: "")), margin: 0.02),
      Test(kind: .greater(Place(arm: "layer", condition: ""), Place(arm: "batch", condition: "")), margin: 0.02),
    ]
  ) { setting, seed in
    try [none, batch, .layer].map { norm in
      let found = try ClaimTrial.best { rate in
        let network = try ClaimRecurrentNetwork(
          norm: norm, inputs: ClaimSequences.inputs, width: 32, classes: 4, generator: try Generator(seed: seed))
        var trial = setting.trial
        trial.learningRate = rate
        var outcome = try trial.train(network) {
          try ClaimSequences.batch(trial.batchSize, seed: trial.picturesSeed(seed, 1000 + UInt64($0)))
        }
        func accuracy(_ stream: UInt64) throws -> Double {
          try ClaimTrial.accuracy(
            network, ClaimSequences.batch(ClaimTrial.testPictures, seed: trial.picturesSeed(seed, stream)))
        }
        outcome.accuracies = [try accuracy(2)]
        outcome.validationAccuracy = try accuracy(3)
        return outcome
      }
      return Value(arm: norm.name, condition: "", value: found.accuracy)
    }
  }

  private static let switchable = Claim(
    name: "switchable",
    statement: "Switchable normalization is as good as the best of what it mixes, at small and large batches.",
    source: "Luo et al. 2019, section 4",
    experiment: "Test accuracy at 2 and 16 samples per batch, at equal numbers of steps, \(tuned).",
    quantity: "test accuracy", condition: "batch size",
    tests: ["2", "16"].flatMap { size in
      ["instance", "layer", "batch"].map { other in
        Test(
          kind: .notWorse(Place(arm: "switchable", condition: size), Place(arm: other, condition: size)), margin: 0.02)
      }
    }
  ) { try overBatchSizes($0, seed: $1, norms: [.switchable, .instance, .layer, batch], sizes: [2, 16]) }

  private static let cost = Claim(
    name: "cost", statement: "Switchable normalization makes training longer than batch normalization does.",
    source: "Luo et al. 2019, section 3.3, who call it slightly slower; reports range from the longest to the shortest",
    experiment:
      "Median milliseconds of a training step, all norms in turn; 4 convolutions of 32 channels, 16 pictures.",
    quantity: "ms per step", condition: "",
    tests: [
      Test(
        kind: .greater(
          Place(quantity: timeRatio, arm: "switchable ÷ batch", condition: ""),
          Place(quantity: timeRatio, arm: "batch ÷ batch", condition: "")),
        margin: 0.07)
    ]
  ) { setting, seed in
    let norms = [none, batch, group, .instance, .layer, .switchable]
    let steps = try norms.map { norm in try TimedSteps(norm, setting, seed: seed) }
    // In turn, so that a slow spell of the machine meets all.
    for _ in 0..<(setting.budget == .quick ? 15 : 40) { for one in steps { try one.run() } }
    let times = steps.map(\.median)
    return zip(norms, times).map { Value(arm: $0.name, condition: "", value: $1) }
      + [
        Value(
          quantity: timeRatio, arm: "switchable ÷ batch", condition: "",
          value: logarithm(times[5] / times[1]) / logarithm(2)),
        Value(quantity: timeRatio, arm: "batch ÷ batch", condition: "", value: 0),
      ]
  }
}
