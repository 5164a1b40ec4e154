import NormaNN
import NormaTensor
import NormaTraining

struct Training {
  var steps = 250
  var batchSize = 4
  var learningRate = 4e-3

  /// Trains the network on the pictures in their order.
  /// - Returns: milliseconds per step.
  func run(_ network: ShapeClassifier, on data: Shapes) throws -> Double {
    let optimizer = try Adam(network.parameters, learningRate: learningRate)
    network.train()
    let time = try ContinuousClock().measure {
      for step in 0..<steps {
        let samples = step * batchSize..<(step + 1) * batchSize
        optimizer.learningRate =
          learningRate * Schedule.cosine.factor(step: step, totalSteps: steps, stepsPerEpoch: steps)
        try network.clearGradients()
        let logits = try network(data.images.sliced(samples))
        try logits.crossEntropy(target: data.labels.sliced(samples)).backward()
        try optimizer.step()
      }
    }
    return time / .milliseconds(steps)
  }
}

extension ShapeClassifier {
  /// The share of pictures that are classified rightly, in evaluation mode.
  func accuracy(on data: Shapes) throws -> Double {
    evaluate()
    return try withoutGradients {
      let classes = try self(data.images).argmax(1)
      return try (classes .== data.labels).to(dtype: .float32).mean().item()
    }
  }
}
