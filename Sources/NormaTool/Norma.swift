#if canImport(Glibc)
  @preconcurrency import Glibc
#elseif canImport(Musl)
  @preconcurrency import Musl
#else
  import Darwin
#endif

import ArgumentParser
import NormaConfiguration
import NormaDistributed

/// The command-line tool.
@main
struct Norma: ParsableCommand {
  static let version = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "norma",
    abstract: "Train the same network under different normalizations and compare them.",
    version: version,
    subcommands: [
      CompareCommand.self, TrainCommand.self, ClaimsCommand.self, ReportCommand.self, DoctorCommand.self,
      PredictCommand.self, EvaluateCommand.self, ExportCommand.self, ImportCommand.self, WeightsCommand.self,
      DescribeCommand.self, ExplainCommand.self, AdviseCommand.self, BenchCommand.self,
      InfoCommand.self,
    ])

  static func main() {
    let arguments = Array(CommandLine.arguments.dropFirst())
    do {
      let arguments = try Configuration.expand(arguments, of: configuration.subcommands)
      // What processes do not share out is rank 0's.
      if let rank = (try? WorkerEnvironment.current())??.rank, rank > 0,
        !(try parseAsRoot(arguments) is any WorkerCommand)
      {
        fputs("rank \(rank): done by rank 0; unset RANK to do it here\n", stderr)
        return
      }
      main(arguments)
    } catch let error as ConfigurationError {
      // As wrong as a wrong command line.
      exit(withError: ValidationError(error.description))
    } catch {
      exit(withError: error)
    }
  }
}
