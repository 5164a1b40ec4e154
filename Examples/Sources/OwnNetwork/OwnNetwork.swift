import Foundation
import NormaNormalization
import NormaTensor

/// Trains ``ShapeClassifier`` under several norms with equal seeds and prints how well each does.
@main
enum OwnNetwork {
  static let seeds: [UInt64] = [0, 1, 2]
  /// Four groups of four channels: plain `group` would have 16 here, one per channel, which is instance normalization.
  static let defaultNorms = ["batch", "group:4", "switchable", "instance", "layer"]

  static func main() {
    do { try compare() } catch {
      print(error)
      exit(1)
    }
  }

  static func compare() throws {
    let names = CommandLine.arguments.count > 1 ? Array(CommandLine.arguments.dropFirst()) : defaultNorms
    // More threads would wait for one another: a step of so small a network takes two milliseconds.
    Runtime.threads = 1
    let norms = try names.map { try Normalization(parsing: $0) }
    let training = Training()
    let pictures = try Shapes(count: training.steps * training.batchSize, seed: 1)
    let validation = try Shapes(count: 500, seed: 2)

    print(
      "\(seeds.count) seeds, \(training.steps) steps of \(training.batchSize) pictures, "
        + "\(validation.labels.count) to validate on")
    print(row("norm", "parameters", "accuracy", "spread", "ms/step"))
    for norm in norms {
      var accuracies: [Double] = []
      var milliseconds: [Double] = []
      var parameters = 0
      for seed in seeds {
        let network = try ShapeClassifier(
          classes: Shapes.names.count, normalization: norm, generator: Generator(seed: seed))
        milliseconds.append(try training.run(network, on: pictures))
        accuracies.append(try network.accuracy(on: validation))
        parameters = network.trainableCount
      }
      let (mean, deviation) = spread(accuracies)
      print(
        row(
          norm.name, "\(parameters)", fixed(mean, 3), "± " + fixed(deviation, 3),
          fixed(milliseconds.sorted()[seeds.count / 2], 2)))
    }
  }
}
